"""`animato submit`: have a running service animate, with the options of `animato animate`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import click

from commands.animation_options import animation_options
from commands.submit_progress import Terminal
from worker.loopback import is_loopback

if TYPE_CHECKING:
    from client.errors import ClientError

_EXIT_CODES = """
Exit codes: 0 done; 1 the animation failed; 2 this command cannot be understood; 3 the service refused; 4 the service
could not be reached, and patience ended; 5 the animation was canceled; 6 a file could not be read, written or
downloaded; 130 Ctrl-C.

The same command, run again, goes on with the same animation: its idempotency key is made of the files' contents and the
options.
"""
_FORMATS = {".webm": "webm", ".gif": "gif", ".webp": "webp", ".zip": "png"}
"""What the name of the result says; everything else is what the service makes by default."""
_FAILED, _REFUSED, _UNREACHABLE, _CANCELED, _FILES, _INTERRUPTED = 1, 3, 4, 5, 6, 130


@click.command(epilog=_EXIT_CODES)
@click.argument("source")
@click.argument("driving", required=False)
@click.option("--motion", help="In place of DRIVING: the id of a motion of the service.")
@click.option("--server", help="Address of the service. [ANIMATO_SERVER, or http://127.0.0.1:8000]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the result goes.")
@animation_options
@click.option("--webhook-url", help="Told of the end, where the installation sends webhooks.")
@click.option("--webhook-events", help="Of which ends; comma-separated. [all]")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the API key; else the environment variable ANIMATO_API_KEY.",
)
@click.option(
    "--no-wait", is_flag=True, help="Print the id as soon as it is accepted. Without this it is then resumed."
)
@click.option("--new", "anew", is_flag=True, help="A new animation, although the same was asked for before.")
@click.option("--cancel-on-interrupt", is_flag=True, help="A second Ctrl-C cancels the animation, not only this wait.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=300,
    show_default=True,
    help="Seconds that a service may be away or busy.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the animation, or the error, as JSON.")
@click.pass_context
def submit(
    context: click.Context,
    source: str,
    driving: str | None,
    motion: str | None,
    server: str | None,
    output: Path | None,
    webhook_url: str | None,
    webhook_events: str | None,
    api_key_file: Path | None,
    no_wait: bool,
    anew: bool,
    cancel_on_interrupt: bool,
    patience: float,
    as_json: bool,
    **options: object,
) -> None:
    """Have a running service animate SOURCE by DRIVING: files here, or URLs that the service may fetch."""
    from client import submission
    from client.service import Service
    from client.settings import ClientSettings

    if output is None and not no_wait:
        raise click.UsageError("-o is needed to know where the result goes; or --no-wait")
    if output and not output.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {output.absolute().parent}", param_hint="-o")
    settings = ClientSettings()
    url = (server or settings.server).rstrip("/")
    key = _api_key(api_key_file, settings.api_key)
    if (driving is None) == (motion is None):
        raise click.UsageError("give DRIVING, or --motion and the id of one")
    files, fields = _inputs(source, driving)
    others = {"motion": motion, "webhook_url": webhook_url, "webhook_events": webhook_events}
    fields |= _fields({**_given(context, options), **{name: text for name, text in others.items() if text}})
    if output and "format" in options and "format" not in fields and (by_name := _FORMATS.get(output.suffix.lower())):
        fields["format"] = by_name
    order = submission.Order(files=files, fields=fields, output=output, anew=anew)
    terminal = Terminal(quiet=as_json)
    _warn_of_plain_http(url, key, terminal)
    # `kill` is no Ctrl-C here: it never cancels.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        _errors_as_exit_codes(terminal, as_json=as_json),
        Service(url, api_key=key, patience_s=patience, say=terminal.say) as service,
    ):
        begun = submission.submit(service, order, terminal)
        animation = begun.animation
        if not no_wait:
            animation = submission.finish(service, order, begun, terminal, cancel_on_interrupt=cancel_on_interrupt)
        terminal.close()
        if as_json:
            click.echo(json.dumps({**animation.said, "output": str(output) if output and not no_wait else None}))
        else:
            terminal.warn(animation)
            click.echo(animation.id if no_wait else f"{output}: {terminal.summary(animation)}")


def _api_key(file: Path | None, otherwise: str) -> str:
    key = file.read_text(errors="replace").strip() if file else otherwise.strip()
    if not key.isascii() or (key and not key.isprintable()) or " " in key:
        raise click.UsageError("the API key has characters that no key has")
    return key


def _inputs(source: str, driving: str | None) -> tuple[dict[str, Path], dict[str, str]]:
    """What is sent as files, and what as URLs."""
    files: dict[str, Path] = {}
    fields: dict[str, str] = {}
    for text, part, url_field in ((source, "source_image", "source_url"), (driving, "driving_video", "driving_url")):
        if text is None:
            continue
        if text.startswith(("http://", "https://")):
            fields[url_field] = text
        elif Path(text).is_file():
            files[part] = Path(text)
        else:
            raise click.UsageError(f"there is no file {text}")
    return files, fields


def _given(context: click.Context, options: dict[str, object]) -> dict[str, object]:
    """The options that were given: for all others the service has its own defaults, and may be older or newer."""
    default = (click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)
    return {name: value for name, value in options.items() if context.get_parameter_source(name) not in default}


def _fields(values: dict[str, object]) -> dict[str, str]:
    """Values as a form has them."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def _warn_of_plain_http(url: str, key: str, terminal: Terminal) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise click.BadParameter(f"{url!r} is not of the form https://host", param_hint="--server")
    if key and parts.scheme == "http" and host != "localhost" and not is_loopback(host):
        terminal.say(f"Warning: the API key goes to {host} unencrypted.")


@contextmanager
def _errors_as_exit_codes(terminal: Terminal, *, as_json: bool) -> Iterator[None]:
    from client import errors

    def leave(exit_code: int, code: str, detail: str, hint: str | None = None) -> NoReturn:
        terminal.close()
        if as_json:
            click.echo(json.dumps({"error": {"code": code, "detail": detail, "hint": hint}}))
        click.echo(f"animato: error: {detail}{f' {hint}' if hint else ''} [{code}]", err=True)
        sys.exit(exit_code)

    def exit_code_of(error: ClientError) -> int:
        if isinstance(error, errors.NotAnimated):
            return _CANCELED if error.code == "animation_canceled" else _FAILED
        kinds = {errors.Unreachable: _UNREACHABLE, errors.DownloadBroken: _FILES}
        return kinds.get(type(error), _REFUSED)

    try:
        yield
    except errors.ClientError as error:
        leave(exit_code_of(error), error.code, error.detail, error.hint)
    except OSError as error:
        leave(_FILES, "file_error", f"{error.filename or 'A file'}: {error.strerror or error}.")
    except KeyboardInterrupt:
        leave(_INTERRUPTED, "interrupted", "Stopped.", "The same command goes on where this one stopped.")
