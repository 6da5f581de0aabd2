"""`animato keys`: who may use the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.options import data_dir_option, read_settings
from worker.terminal import errors_in_one_line

if TYPE_CHECKING:
    from worker.api_keys import KeyStore


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. As soon as there is one, every caller needs one."""


@keys.command("create")
@click.argument("name")
@click.option("--for-settings", is_flag=True, help="Change nothing: print the key and its entry for ANIMATO_API_KEYS.")
@data_dir_option
@errors_in_one_line
def create_key(name: str, for_settings: bool, data_dir: Path | None) -> None:
    """Make a key for the client NAME. It is shown now and never again."""
    from worker.api_keys import make_key

    if for_settings:
        text, entry = make_key(name)
        click.echo(f"Key:    {text}\nEntry:  {entry}")
        return
    with _key_store(data_dir) as store:
        made = store.create(name)
    click.echo(made.text)
    click.echo(f"{made.key.id} for '{name}'. The key is shown only this once: put it away now.", err=True)


@keys.command("list")
@data_dir_option
@errors_in_one_line
def list_keys(data_dir: Path | None) -> None:
    """List the keys: id, name, when they were created and last used (to the hour)."""
    with _key_store(data_dir) as store:
        found = store.list_keys()
    for key in found:
        created = _time(key.created_at) if key.source == "redis" else "settings"
        click.echo(f"{key.id:18} {key.name:24} created {created:16}  last used {_time(key.last_used_at)}")
    if not found:
        click.echo("There are no keys.", err=True)


@keys.command("revoke")
@click.argument("name_or_id")
@data_dir_option
@errors_in_one_line
def revoke_key(name_or_id: str, data_dir: Path | None) -> None:
    """Revoke the key with this id, or all keys of this name. Counts from the next request on."""
    with _key_store(data_dir) as store:
        revoked = store.revoke(name_or_id)
        left = store.exist()
    for key in revoked:
        click.echo(f"Revoked {key.id} of '{key.name}'.")
    if not left:
        click.echo("There is no key left: callers on the same machine are let in without one.", err=True)


@keys.command("webhook-secret")
@click.argument("name")
@data_dir_option
@errors_in_one_line
def webhook_secret(name: str, data_dir: Path | None) -> None:
    """Print the secret with which the client NAME verifies webhooks ('' for callers without a key)."""
    from api.settings import ApiSettings
    from api.webhook_signing import WebhookSigner
    from worker.embedded_redis import borrowed_redis
    from worker.redis_client import connect

    with borrowed_redis(read_settings(data_dir=data_dir)) as settings, connect(settings) as client:
        click.echo(WebhookSigner(client, ApiSettings()).secrets_of(name or None)[0])


@contextmanager
def _key_store(data_dir: Path | None) -> Iterator[KeyStore]:
    from worker.api_keys import KeyStore
    from worker.embedded_redis import borrowed_redis

    with borrowed_redis(read_settings(data_dir=data_dir)) as settings:
        store = KeyStore.connect(settings)
        try:
            yield store
        finally:
            store.close()


def _time(seconds: float | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")
