"""What is still to be told to others: the ends of animations, in Redis.

An end enters the outbox in the script that makes it the end (`announce` in `lua/_record.lua`), so neither can be
without the other. It leaves when it was delivered or given up, or with its record.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from worker.redis_client import translated
from worker.redis_scripts import OUTBOX, Scripts, milliseconds


class DueWebhook(NamedTuple):
    """A webhook to be sent now."""

    job_id: str
    attempt: int
    """From 1."""


class WebhookOutbox:
    """The outbox; safe to share between threads and processes."""

    def __init__(self, client: redis.Redis, run: Scripts) -> None:
        self._redis = client
        self._run = run

    @translated
    def take(self, at_most: int, hold_s: float) -> list[DueWebhook]:
        """Up to `at_most` whose time has come. They come again after `hold_s` unless they are put off or removed."""
        flat: Any = self._run("take_webhooks", at_most, milliseconds(hold_s))
        return [DueWebhook(job_id, int(attempt)) for job_id, attempt in zip(flat[::2], flat[1::2], strict=True)]

    @translated
    def put_off(self, job_id: str, delay_s: float) -> None:
        """Let it come again after `delay_s`."""
        self._run("put_off_webhook", job_id, milliseconds(delay_s))

    @translated
    def remove(self, job_id: str) -> None:
        """It was delivered, or is given up."""
        self._redis.zrem(OUTBOX, job_id)
