"""`animato keys` as a person runs it."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner, Result

from animato import main


@pytest.fixture(autouse=True)
def _redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATO_REDIS_URL", redis_url)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def test_a_key_is_shown_once_listed_and_revoked() -> None:
    assert "no keys" in run("list").stderr

    made = run("create", "website")
    assert made.exit_code == 0
    assert re.fullmatch(r"ank_[A-Za-z0-9_-]{43}\n", made.stdout)  # alone, so that a script can catch it
    assert "only this once" in made.stderr

    listed = run("list").stdout
    assert re.search(r"key_[0-9a-f]{12} +website +created 20.*last used never", listed)
    assert made.stdout.strip() not in listed

    revoked = run("revoke", "website")
    assert "Revoked key_" in revoked.stdout
    assert "no key left" in revoked.stderr
    again = run("revoke", "website")
    assert again.exit_code == 1
    assert "[api_key_not_found]" in again.stderr


def test_a_key_for_the_settings_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("create", "website", "--for-settings").stdout
    assert "no keys" in run("list").stderr

    entry = re.search(r"website:[0-9a-f]{64}", made)
    assert entry
    monkeypatch.setenv("ANIMATO_API_KEYS", entry[0])

    assert "settings" in run("list").stdout
    assert "ANIMATO_API_KEYS" in run("revoke", "website").stderr


def test_a_bad_name() -> None:
    refused = run("create", "My Website")
    assert refused.exit_code == 1
    assert "[invalid_key_name]" in refused.stderr


def test_each_client_has_a_webhook_secret_of_its_own() -> None:
    first, again, other = (run("webhook-secret", name).stdout for name in ("website", "website", "batch"))
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", first)
    assert first == again
    assert first != other
