"""API keys: who may use the service. Kept in Redis, or named by the settings; always as a hash.

    animato:keys        hash, SHA-256 of a key → what is known of it
    animato:keys:used   hash, SHA-256 of a key → when it was last used, to the hour

A key is 256 random bits, so one plain SHA-256 is enough: nobody can try out that many, and a slow hash, as passwords
need because people choose them, would only make every request slow. Nor does the time of looking a hash up tell
anything: nobody can choose the hash of what they send.

Whose animations a caller sees goes by the *name* of the key: two keys of one name are one client, so a key can be
replaced without losing sight of what the old one made.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import redis
from pydantic import BaseModel, ConfigDict

from worker.errors import ApiKeysUnusable, QueueUnavailable
from worker.redis_client import connect, translated
from worker.settings import Settings

KEY_PREFIX = "ank_"
_KEY_LENGTH = len(KEY_PREFIX) + 43  # 256 bits in base 64
_KEYS = "animato:keys"
_USED = "animato:keys:used"
_USED_STEP_S = 3600
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ApiKey(BaseModel):
    """What is known of a key; the key itself is known to nobody but its holder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    """The client that it stands for."""
    created_at: float | None
    """Seconds since 1970; None for a key of the settings."""
    last_used_at: float | None = None
    """To the hour: it is for finding keys that nobody uses, not for following people."""
    source: Literal["redis", "settings"] = "redis"


class NewKey(NamedTuple):
    """A key that was just made: the only moment at which it can be read."""

    text: str
    key: ApiKey


def make_key(name: str) -> tuple[str, str]:
    """A new key, and the entry for `ANIMATO_API_KEYS` that lets it in. Raises ApiKeysUnusable for a bad name."""
    text = KEY_PREFIX + secrets.token_urlsafe(32)
    return text, f"{_checked_name(name)}:{_digest(text)}"


class KeyStore:
    """The keys of an installation; safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        """Raises ApiKeysUnusable when the settings name keys that cannot be read."""
        self._redis = client
        self._configured = _configured_keys(settings)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """A store on `settings.redis_url`; the connection itself is opened at the first call."""
        return cls(connect(settings), settings)

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    @translated
    def exist(self) -> bool:
        """Whether there is any key, so that callers need one."""
        return bool(self._configured) or bool(self._redis.hlen(_KEYS))

    def find(self, text: str) -> ApiKey | None:
        """The key that `text` is, or None. Raises QueueUnavailable: not to know is not to refuse."""
        if len(text) != _KEY_LENGTH or not text.startswith(KEY_PREFIX):
            return None
        digest = _digest(text)
        # Those of the settings need no Redis. All are compared, so that the time does not tell which was met.
        met = [key for known, key in self._configured.items() if hmac.compare_digest(known, digest)]
        return met[0] if met else self._find_stored(digest)

    @translated
    def _find_stored(self, digest: str) -> ApiKey | None:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(_KEYS, digest)
            pipe.hget(_USED, digest)
            pipe.time()
            stored, used, (now_s, _) = pipe.execute()
        if stored is None:
            return None
        if used is None or now_s - int(used) >= _USED_STEP_S:
            # A Redis that cannot write is no reason to turn away who may come in.
            with suppress(QueueUnavailable):
                self._note_use(digest, now_s - now_s % _USED_STEP_S)
        return ApiKey.model_validate_json(stored)

    @translated
    def _note_use(self, digest: str, now_s: int) -> None:
        self._redis.hset(_USED, digest, str(now_s))

    @translated
    def create(self, name: str) -> NewKey:
        """Make a key for the client `name` and let it in from now on. Raises ApiKeysUnusable for a bad name."""
        text, entry = make_key(name)
        digest = entry.rpartition(":")[2]
        clock: Any = self._redis.time()
        key = ApiKey(id=_id_of(digest), name=name, created_at=clock[0])
        self._redis.hset(_KEYS, digest, key.model_dump_json(exclude={"last_used_at"}))
        return NewKey(text, key)

    @translated
    def list_keys(self) -> list[ApiKey]:
        """All keys, by name and age."""
        stored: Any = self._redis.hgetall(_KEYS)
        used: Any = self._redis.hgetall(_USED)
        keys = [
            ApiKey.model_validate_json(text).model_copy(
                update={"last_used_at": float(used[digest]) if digest in used else None}
            )
            for digest, text in stored.items()
        ]
        return sorted([*self._configured.values(), *keys], key=lambda key: (key.name, key.created_at or 0))

    @translated
    def revoke(self, wanted: str) -> list[ApiKey]:
        """Shut out the key with the id `wanted`, or all of the name `wanted`; those that were. Raises ApiKeysUnusable.

        Counts from the next request on: nothing of a key is remembered anywhere else.
        """
        stored: Any = self._redis.hgetall(_KEYS)
        met = {
            digest: key
            for digest, key in ((digest, ApiKey.model_validate_json(text)) for digest, text in stored.items())
            if wanted in (key.id, key.name)
        }
        if not met:
            configured = any(wanted in (key.id, key.name) for key in self._configured.values())
            raise ApiKeysUnusable(
                f"There is no key '{wanted}' in Redis.",
                code="api_key_not_found",
                hint="It is one of ANIMATO_API_KEYS: take it out there." if configured else "See 'animato keys list'.",
            )
        with self._redis.pipeline() as pipe:
            pipe.hdel(_KEYS, *met)
            pipe.hdel(_USED, *met)
            pipe.execute()
        return list(met.values())


def _configured_keys(settings: Settings) -> dict[str, ApiKey]:
    """The keys that the settings name, by their hash."""
    entries = re.split(r"[\s,]+", settings.api_keys)
    if settings.api_keys_file:
        try:
            lines = Path(settings.api_keys_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ApiKeysUnusable(
                f"ANIMATO_API_KEYS_FILE cannot be read: {settings.api_keys_file}.",
                hint="It has lines of the form NAME:SHA256.",
            ) from error
        entries += [line.partition("#")[0].strip() for line in lines]
    keys: dict[str, ApiKey] = {}
    for entry in filter(None, entries):
        name, _, digest = entry.rpartition(":")
        if not _DIGEST.fullmatch(digest):
            # The entry itself is not shown: it may be a key that somebody forgot to hash.
            raise ApiKeysUnusable(
                "An entry of ANIMATO_API_KEYS or its file is not of the form NAME:SHA256 (64 digits 0-9 a-f).",
                hint="'animato keys create NAME --for-settings' prints a key and its entry.",
            )
        keys[digest] = ApiKey(id=_id_of(digest), name=_checked_name(name), created_at=None, source="settings")
    return keys


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ApiKeysUnusable(
            f"'{name}' cannot be the name of a key.",
            code="invalid_key_name",
            hint="Small letters, digits, '.', '_' and '-', beginning with a letter or a digit, at most 64.",
        )
    return name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _id_of(digest: str) -> str:
    """A short name of a key for people. A part of its hash leads nobody to the key."""
    return f"key_{digest[:12]}"
