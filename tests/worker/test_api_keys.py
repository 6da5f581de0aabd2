"""API keys on a real Redis: made once, kept as hashes, found, listed, revoked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from worker.api_keys import KeyStore, make_key
from worker.errors import ApiKeysUnusable, QueueUnavailable
from worker.settings import Settings


@pytest.fixture
def keys(settings: Settings) -> Iterator[KeyStore]:
    store = KeyStore.connect(settings)
    yield store
    store.close()


def test_a_key_is_found_and_nothing_else_is(keys: KeyStore) -> None:
    text, key = keys.create("website")
    keys.create("website")

    found = keys.find(text)

    assert found is not None
    assert (found.id, found.name) == (key.id, "website")
    assert text.startswith("ank_")
    for wrong in (
        "",
        "ank_",
        text[:-1],
        text + "A",
        text.lower(),
        "ank_" + "A" * 43,
        "xyz_" + text[4:],
        "ank_" + "é" * 43,
    ):
        assert keys.find(wrong) is None, wrong


def test_redis_holds_only_the_hash(keys: KeyStore, redis_url: str) -> None:
    text, _ = keys.create("website")
    keys.find(text)

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        everything = str([client.hgetall(key) for key in client.keys("*")])  # pyright: ignore

    assert hashlib.sha256(text.encode()).hexdigest() in everything
    assert text not in everything
    assert text.removeprefix("ank_") not in everything


def test_the_last_use_is_kept_to_the_hour(keys: KeyStore) -> None:
    text, key = keys.create("website")
    assert keys.list_keys()[0].last_used_at is None

    keys.find(text)

    used = keys.list_keys()[0]
    assert used.last_used_at is not None
    assert used.last_used_at % 3600 == 0
    assert used.created_at
    assert 0 <= used.created_at - used.last_used_at < 3600
    assert used.id == key.id


def test_revoked_by_id_or_by_name(keys: KeyStore) -> None:
    first, second, other = keys.create("website"), keys.create("website"), keys.create("batch")

    assert keys.revoke(first.key.id) == [first.key]
    assert keys.find(first.text) is None
    assert keys.find(second.text) is not None

    third = keys.create("website")
    assert {key.id for key in keys.revoke("website")} == {second.key.id, third.key.id}
    assert [key.name for key in keys.list_keys()] == ["batch"]
    assert keys.find(other.text) is not None
    with pytest.raises(ApiKeysUnusable) as caught:
        keys.revoke("website")
    assert caught.value.code == "api_key_not_found"


def test_whether_there_is_any_key(keys: KeyStore, settings: Settings) -> None:
    assert not keys.exist()
    _, key = keys.create("website")
    assert keys.exist()
    keys.revoke(key.id)
    assert not keys.exist()
    _, entry = make_key("website")
    assert KeyStore.connect(settings.model_copy(update={"api_keys": entry})).exist()


def test_keys_of_the_settings_need_no_redis(settings: Settings, tmp_path: Path) -> None:
    first, entry = make_key("website")
    second, other = make_key("batch")
    file = tmp_path / "keys"
    file.write_text(f"# the nightly run\n{other}  # since May\n\n")
    away = {"redis_url": "redis://127.0.0.1:1/0", "api_keys": f" {entry},", "api_keys_file": str(file)}
    keys = KeyStore.connect(settings.model_copy(update=away))

    found = [keys.find(first), keys.find(second)]

    assert [key and (key.name, key.source) for key in found] == [("website", "settings"), ("batch", "settings")]
    assert keys.exist()
    with pytest.raises(QueueUnavailable):  # not None: it may be one of those in Redis
        keys.find(make_key("website")[0])


@pytest.mark.parametrize("entry", ["website", "website:abc", ":" + "0" * 64, "Web Site:" + "0" * 64, "web:" + "G" * 64])
def test_entries_that_cannot_be_read_are_refused_and_not_shown(settings: Settings, entry: str) -> None:
    text, _ = make_key("website")
    with pytest.raises(ApiKeysUnusable):
        KeyStore.connect(settings.model_copy(update={"api_keys": entry}))
    with pytest.raises(ApiKeysUnusable) as caught:  # the key where its hash belongs
        KeyStore.connect(settings.model_copy(update={"api_keys": f"website:{text}"}))
    assert text not in str(caught.value) + str(caught.value.hint)


def test_a_file_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ApiKeysUnusable):
        KeyStore.connect(settings.model_copy(update={"api_keys_file": str(tmp_path / "none")}))


@pytest.mark.parametrize("name", ["", "Web", "-web", "a b", "a:b", "a" * 65, "ä"])
def test_names_that_cannot_be_used(keys: KeyStore, name: str) -> None:
    with pytest.raises(ApiKeysUnusable) as caught:
        keys.create(name)
    assert caught.value.code == "invalid_key_name"
    assert not keys.exist()


def test_a_redis_that_cannot_write_still_lets_in(keys: KeyStore, redis_url: str) -> None:
    text, _ = keys.create("website")
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 1)
        try:
            found = keys.find(text)
            with pytest.raises(QueueUnavailable):
                keys.create("another")
        finally:
            client.config_set("maxmemory", 0)
    assert found is not None
