"""What the housekeeper does to records: each step is one script, bounded, and may be done twice."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from worker.jobs import JobError
from worker.redis_client import PREFIX, translated
from worker.redis_scripts import DEAD, TRASH, Scripts, milliseconds
from worker.settings import Settings

GIVEN_UP = JobError(
    code="worker_crashed",
    detail="The worker was lost each time it ran this animation.",
    hint="The inputs may be too much for the worker's memory: try a smaller or shorter video, or tell the operator.",
)
OVERDUE = JobError(
    code="deadline_exceeded",
    detail="The animation was not finished within its time.",
    hint="The service may be overloaded: try again later.",
    retryable=True,
)
_AT_MOST = 100
_STORAGE_MARK = f"{PREFIX}storage-mark"


class Released(NamedTuple):
    """What became of animations whose worker fell silent."""

    queued: list[str]
    given_up: list[str]


class JobUpkeep:
    """The housekeeper's side of the records; safe to share between threads."""

    def __init__(self, client: redis.Redis, scripts: Scripts, settings: Settings) -> None:
        self._redis = client
        self._run = scripts
        self._settings = settings

    @translated
    def take_duty(self, duty: str, name: str, hold_s: float) -> bool:
        """Whether `name` is the one process that does `duty` for the next `hold_s` seconds."""
        return bool(self._run("keep_house", duty, name, milliseconds(hold_s)))

    @translated
    def release_expired(self, at_most: int = _AT_MOST) -> Released:
        """Queue animations again whose worker fell silent, or give them up after the last attempt."""
        return Released(*self._run("release", at_most, self._settings.max_attempts, GIVEN_UP.model_dump_json()))

    @translated
    def end_overdue(self, at_most: int = _AT_MOST) -> list[str]:
        """Fail the animations whose deadline has passed, queued or running; their ids."""
        return self._run("end_overdue", at_most, OVERDUE.model_dump_json())

    @translated
    def due_rings(self, at_most: int = _AT_MOST) -> list[str]:
        """Queued animations whose doorbell must be rung (again); calling this counts as ringing them."""
        return self._run("due_rings", at_most, milliseconds(self._settings.first_ring_wait_s))

    @translated
    def expire(self, at_most: int = _AT_MOST) -> list[str]:
        """Replace the records whose retention is over by tombstones; their objects are trash now. Their ids."""
        return self._run("expire", at_most, milliseconds(self._settings.tombstone_s))

    @translated
    def trash(self, at_most: int = _AT_MOST) -> list[str]:
        """Ids of removed records whose objects are still to be deleted, the oldest first."""
        return self._redis.zrange(TRASH, 0, at_most - 1)  # pyright: ignore[reportReturnType]

    @translated
    def objects_deleted(self, job_id: str) -> None:
        """Note that no object of a removed record is left."""
        self._redis.zrem(TRASH, job_id)

    @translated
    def put_off_deletion(self, job_id: str) -> None:
        """Put a removed record at the end of the trash: its objects could not be deleted now."""
        self._redis.zadd(TRASH, {job_id: self._run("clock")}, xx=True)

    @translated
    def storage_mark(self, candidate: str) -> str:
        """The mark that the storage of this Redis carries; `candidate` when there is none yet."""
        self._redis.set(_STORAGE_MARK, candidate, nx=True)
        mark: Any = self._redis.get(_STORAGE_MARK)
        return mark

    @translated
    def now_s(self) -> float:
        """The time of the one clock."""
        return self._run("clock") / 1000

    @translated
    def dead(self, at_most: int = 1000) -> list[str]:
        """Ids of failed animations, the newest first."""
        ids: Any = self._redis.zrevrange(DEAD, 0, at_most - 1)
        return ids
