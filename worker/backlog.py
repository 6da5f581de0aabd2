"""What is still to be done, in the order in which it will be: for estimates of when an animation ends."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import redis

from worker.jobs import speed_name
from worker.redis_scripts import JOB, LEASES, QUEUED, SPEEDS


class Work(NamedTuple):
    """An animation that is not final."""

    job_id: str
    model: str
    """As `jobs.speed_name` calls it."""
    frames_left: int


class Backlog(NamedTuple):
    """All work, and how fast each model has been so far."""

    running: list[Work]
    queued: list[Work]
    """The next one first."""
    frames_per_s: dict[str, float]
    """From claim to commit, a moving average; models that have never finished an animation are missing."""


def read_backlog(client: redis.Redis, at_most: int) -> Backlog:
    """The backlog, with the first `at_most` queued animations; in two round trips."""
    with client.pipeline() as pipe:
        pipe.zrange(LEASES, 0, -1)
        pipe.zrange(QUEUED, 0, at_most - 1)
        pipe.hgetall(SPEEDS)
        running, queued, speeds = pipe.execute()
    with client.pipeline(transaction=False) as pipe:
        for job_id in (*running, *queued):
            pipe.hmget(JOB + job_id, "options", "frames_total", "frames_done")
        records = pipe.execute()
    work = [_work(job_id, *record) for job_id, record in zip((*running, *queued), records, strict=True)]
    return Backlog(
        running=[one for one in work[: len(running)] if one],
        queued=[one for one in work[len(running) :] if one],
        frames_per_s={model: float(speed) for model, speed in speeds.items()},
    )


def _work(job_id: str, options: Any, frames_total: Any, frames_done: Any) -> Work | None:
    if options is None:
        return None  # removed between the two looks
    return Work(
        job_id, speed_name(job_id, json.loads(options)["model"] or ""), max(0, int(frames_total) - int(frames_done))
    )
