"""A clock for the scripts that stands still until a test moves it: time passes at once, and only when it shall."""

from __future__ import annotations

import redis

from worker.job_store import JobStore
from worker.redis_client import connect
from worker.settings import Settings

_KEY = "test:now_ms"
_SNIPPET = f"local function now_ms() return tonumber(redis.call('GET', '{_KEY}')) end\n"


class VirtualClock:
    """The time of all stores that `store` gives out. Only the function that reads the clock differs from production."""

    def __init__(self, settings: Settings, *, now_s: float = 1_800_000_000.0) -> None:
        self._settings = settings
        self._client: redis.Redis = connect(settings)
        self.set(now_s)

    @property
    def now_s(self) -> float:
        return float(self._client.get(_KEY)) / 1000  # pyright: ignore[reportArgumentType]

    def set(self, now_s: float) -> None:
        self._client.set(_KEY, round(now_s * 1000))

    def advance(self, seconds: float) -> None:
        self._client.incrby(_KEY, round(seconds * 1000))

    def store(self) -> JobStore:
        return JobStore(connect(self._settings), self._settings, clock=_SNIPPET)
