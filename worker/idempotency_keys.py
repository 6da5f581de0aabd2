"""Keys that clients give their requests, so that a request sent twice makes one animation.

    animato:reserved:{key}   hash: while the upload runs its `token`, and a short life; then `id` and `fingerprint`

`lua/submit.lua` writes the record and turns the reservation into the key of that record, in one step.
"""

from __future__ import annotations

from typing import NamedTuple

from worker.redis_client import translated
from worker.redis_scripts import Scripts, milliseconds


class Reservation(NamedTuple):
    """A key held for one upload: what `JobStore.submit` needs to turn it into the key of a record."""

    key: str
    token: str
    """New for every upload: it tells two uploads of the same key apart."""
    fingerprint: str = ""
    """Of what was uploaded."""
    keep_s: float = 24 * 3600.0
    """How long the key stands for the animation."""


class EarlierRequest(NamedTuple):
    """The request that the key stands for, and what came of it."""

    fingerprint: str
    job_id: str


class KeyInUseError(Exception):
    """Another upload of the same key is on its way."""


class KeyReusedError(Exception):
    """The key stands for another request."""


class KeyOfRemovedError(Exception):
    """The animation of the key was removed."""


class IdempotencyKeys:
    """Reserve keys; safe to share between threads."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts

    @translated
    def reserve(self, key: str, token: str, hold_s: float) -> EarlierRequest | None:
        """Hold `key` for the upload `token`; an earlier request when there was one. Raises KeyInUseError."""
        answer: list[str] = self._run("reserve_key", key, token, milliseconds(hold_s))
        if not answer:
            return None
        if len(answer) == 1:
            raise KeyInUseError(key)
        return EarlierRequest(*answer)

    @translated
    def renew(self, key: str, token: str, hold_s: float) -> bool:
        """Hold it on. False: it is not held by this upload (any more)."""
        return bool(self._run("renew_key", key, token, milliseconds(hold_s)))

    @translated
    def give_up(self, key: str, token: str) -> None:
        """Let another upload have it, unless it stands for an animation already."""
        self._run("renew_key", key, token, 0)
