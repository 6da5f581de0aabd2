"""How often a client may come: quotas a minute, counted in Redis for all API processes together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import redis

from worker.redis_client import translated

_RATE = "animato:rate:"
_SCRIPT = Path(__file__).with_name("lua") / "rate_limit.lua"
_WINDOW_S = 60


class Quota(NamedTuple):
    """So many a minute, under a name that clients see."""

    name: str
    per_minute: int


class Turn(NamedTuple):
    """Whether a request may pass, and what a client may want to know of its quotas."""

    wait_s: int
    """0 when it may pass."""
    headers: dict[str, str]
    """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers)."""


class RateLimiter:
    """Counts requests of clients; safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._script = client.register_script(_SCRIPT.read_text())

    @translated
    def take(self, client_id: str, *quotas: Quota) -> Turn:
        """Count one request against all `quotas`, or against none when one of them is used up."""
        keys = [f"{_RATE}{client_id}:{quota.name}" for quota in quotas]
        answer: Any = self._script(keys=keys, args=[_WINDOW_S * 1000, *(quota.per_minute for quota in quotas)])
        wait_ms, *numbers = answer
        left = [
            f'"{quota.name}";r={max(0, remaining)};t={math.ceil(back_ms / 1000)}'
            for quota, remaining, back_ms in zip(quotas, numbers[::2], numbers[1::2], strict=True)
        ]
        policy = [f'"{quota.name}";q={quota.per_minute};w={_WINDOW_S}' for quota in quotas]
        headers = {"RateLimit-Policy": ", ".join(policy), "RateLimit": ", ".join(left)}
        return Turn(math.ceil(wait_ms / 1000), headers)
