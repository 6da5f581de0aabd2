"""The door to Redis: one way to connect, and one way in which its absence is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.errors import QueueUnavailable
from worker.settings import Settings

PREFIX = "animato:"
"""Of all our keys."""

P = ParamSpec("P")
R = TypeVar("R")


def connect(settings: Settings) -> redis.Redis:
    """A client of `settings.redis_url`, safe to share between threads; it connects at the first call."""
    # A connection that ended while nobody used it is opened once more: the scripts decide by state, so a command that
    # was carried out although its answer was lost may come again. One that waited in vain is not: each further try
    # would wait as long, and a request would hang for several times the time limit.
    return redis.Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


@contextmanager
def redis_errors_translated() -> Iterator[None]:
    """Turn Redis being down, slow, full or loading into `QueueUnavailable`."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        unavailable = QueueUnavailable("The queue does not answer.", hint="Try again in a moment.")
        unavailable.outcome_unknown = True
        raise unavailable from error
    except redis.ResponseError as error:
        # An error inside a script carries the code somewhere in its message.
        refused = isinstance(error, redis.exceptions.ReadOnlyError | redis.exceptions.OutOfMemoryError)
        if refused or any(code in str(error) for code in ("OOM ", "MISCONF ", "LOADING ", "NOREPLICAS ")):
            raise QueueUnavailable("The queue cannot store anything now.", hint="Try again in a moment.") from error
        raise


def translated(method: Callable[P, R]) -> Callable[P, R]:
    """Let callers see `QueueUnavailable` in place of the client's connection errors."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with redis_errors_translated():
            return method(*args, **kwargs)

    return call
