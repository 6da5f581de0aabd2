"""What happened to animations so far, and what waits now: the numbers in Redis that the API's `/metrics` shows.

The scripts count in the step in which something happens, so these numbers live while workers come and go, and agree
with the records after any crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import redis

from worker.redis_client import translated
from worker.redis_scripts import COUNTS, DEAD, LEASES, QUEUED, WAIT_BUCKETS_S


class Durations(NamedTuple):
    """A histogram: how many durations fit into each bucket and none before it, and their sum."""

    buckets: tuple[tuple[float, int], ...]
    """Upper end in seconds (the last: infinity), count."""
    sum_s: float


class JobCounts(NamedTuple):
    """One look at everything."""

    submitted: int
    finished: Mapping[tuple[str, str], int]
    """By state and error code ('' without one)."""
    attempts: int
    redelivered: Mapping[str, int]
    """By reason."""
    commits_fenced: int
    queue_wait: Durations
    run: Durations
    """From claim to commit, of the animations that succeeded."""
    queued: int
    oldest_queued_s: float
    """How long the one that has been due longest has been due; 0 when none is."""
    running: int
    dead: int


@translated
def read_job_counts(client: redis.Redis) -> JobCounts:
    """All numbers in one round trip. Raises QueueUnavailable."""
    with client.pipeline() as pipe:
        pipe.hgetall(COUNTS)
        pipe.zrange(QUEUED, 0, 0, withscores=True)
        for key in (QUEUED, LEASES, DEAD):
            pipe.zcard(key)
        pipe.time()
        answers: list[Any] = pipe.execute()
    texts, oldest, queued, running, dead, (seconds, microseconds) = answers
    counts = {name: int(value) for name, value in texts.items()}
    waited_s = seconds + microseconds / 1e6 - oldest[0][1] / 1000 if oldest else 0.0
    return JobCounts(
        submitted=counts.get("submitted", 0),
        finished={(state, code): count for (state, code), count in _below("finished", counts).items()},
        attempts=counts.get("attempts", 0),
        redelivered={reason: count for (reason,), count in _below("redelivered", counts).items()},
        commits_fenced=counts.get("commits_fenced", 0),
        queue_wait=_durations("queue_wait", counts),
        run=_durations("run", counts),
        queued=queued,
        oldest_queued_s=max(0.0, waited_s),
        running=running,
        dead=dead,
    )


def _below(name: str, counts: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    """The numbers whose field begins with `name|`, by the rest of the field."""
    parts = {tuple(field.split("|")): count for field, count in counts.items()}
    return {field[1:]: count for field, count in parts.items() if field[0] == name and len(field) > 1}


def _durations(name: str, counts: Mapping[str, int]) -> Durations:
    ends = [*((float(end), f"{end:g}") for end in WAIT_BUCKETS_S), (float("inf"), "inf")]
    buckets = tuple((end, counts.get(f"{name}|{text}", 0)) for end, text in ends)
    return Durations(buckets, counts.get(f"{name}|sum_ms", 0) / 1000)
