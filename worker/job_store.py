"""The records of all animations, in Redis. Every change is one Lua script; the time is Redis's own.

Celery's message is only a doorbell: whether a worker may run an animation, and whether its result counts, is decided
here, by `claim` and by the fence that `claim` hands out (docs/decisions/0001-doorbell-and-record.md). `redis_scripts`
has the names of the keys, `job_upkeep` what the housekeeper does.
"""

from __future__ import annotations

import random
from typing import Any, Literal, Self

import redis

from worker.backlog import Backlog, read_backlog
from worker.idempotency_keys import IdempotencyKeys, Reservation
from worker.job_record import Claim, Tombstone, read_record
from worker.job_upkeep import GIVEN_UP, JobUpkeep
from worker.jobs import (
    AnimationOptions,
    Job,
    JobContext,
    JobError,
    JobInput,
    JobKind,
    JobResult,
    JobState,
    kind_of,
    speed_name,
)
from worker.redis_client import PREFIX, connect, translated
from worker.redis_scripts import CLIENT, GONE, INDEX, JOB, LEASES, MOTIONS, QUEUED, SPEEDS, Scripts, milliseconds
from worker.settings import Settings
from worker.submit_refusals import REFUSALS
from worker.webhook_outbox import WebhookOutbox

_WORKER = f"{PREFIX}worker:"
_WORKERS = f"{PREFIX}workers"
_WORKER_SEEN_S = 60
"""A worker that has not told of itself for so long is not listed any more."""
_BACKOFF_JITTER = 0.2


class JobStore:
    """Read and change records; safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings, *, clock: str | None = None) -> None:
        """`clock` takes the place of `lua/_clock.lua`: for tests."""
        self._redis = client
        self._settings = settings
        self._run = Scripts(client, clock=clock)
        self.upkeep = JobUpkeep(client, self._run, settings)
        self.keys = IdempotencyKeys(self._run)
        self.webhooks = WebhookOutbox(client, self._run)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """A store on `settings.redis_url`; the connection itself is opened at the first call."""
        return cls(connect(settings), settings)

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    # -- for the API ------------------------------------------------------------------------------------------------

    @translated
    def ping(self) -> None:
        """Raise `QueueUnavailable` unless Redis answers."""
        self._redis.ping()

    @translated
    def submit(
        self,
        job_id: str,
        job_input: JobInput,
        options: AnimationOptions,
        context: JobContext | None = None,
        *,
        reservation: Reservation | None = None,
        max_queued: int | None = None,
        max_of_client: int | None = None,
    ) -> Job:
        """Store a new record in state `queued`. From here on the animation ends in a terminal state.

        With a reserved key that stands for the same request already, the record of that one comes back. Raises
        KeyInUseError, KeyReusedError, KeyOfRemovedError, QueueFullError when `max_queued` are queued, ClientFullError
        when `max_of_client` of the same client are not final. With `context.retry_of` that animation leaves the dead
        list in the same step; raises AlreadyRetriedError when it is not on it.
        """
        context, settings = context or JobContext(), self._settings
        reserved = reservation or Reservation("", "")
        # The script answers with the record: a second read could fail and make an accepted job look refused.
        outcome, *record = self._run(
            "submit",
            job_id,
            job_input.model_dump_json(),
            options.model_dump_json(),
            job_input.driving.frames,
            context.model_dump_json(),
            context.client_id or "",
            milliseconds(settings.job_deadline_s),
            milliseconds(settings.retention_s if kind_of(job_id) is JobKind.ANIMATION else settings.motion_retention_s),
            milliseconds(settings.first_ring_wait_s),
            context.retry_of or "",
            "" if max_queued is None else max_queued,
            *reserved[:3],
            milliseconds(reserved.keep_s),
            "" if max_of_client is None else max_of_client,
        )
        if outcome != "ok":
            raise REFUSALS[outcome](context.retry_of or reserved.key or job_id)
        [flat] = record
        return read_record(dict(zip(flat[::2], flat[1::2], strict=True)))

    @translated
    def get(self, job_id: str) -> Job | None:
        """The record, or None."""
        fields: dict[str, str] = self._redis.hgetall(JOB + job_id)  # pyright: ignore[reportAssignmentType]
        return read_record(fields) if fields else None

    @translated
    def get_many(self, job_ids: list[str]) -> list[Job | None]:
        """The records of `job_ids`, each or None, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(JOB + job_id)
            return [read_record(fields) if fields else None for fields in pipe.execute()]

    @translated
    def versions(self, job_ids: list[str]) -> list[int | None]:
        """The version of each record: a cheap look at whether it has changed. None for one that does not exist."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(JOB + job_id, "version")
            return [int(version) if version else None for version in pipe.execute()]

    @translated
    def page(
        self,
        limit: int,
        *,
        before: str | None = None,
        client_id: str | None = None,
        kind: JobKind = JobKind.ANIMATION,
    ) -> list[Job]:
        """The newest `limit` records of a kind, or those older than the id `before`; newest first. Of one client, or
        of all."""
        everybody, own = (INDEX, "index") if kind is JobKind.ANIMATION else (MOTIONS, "motions")
        index = everybody if client_id is None else f"{CLIENT}{client_id}:{own}"
        start = f"({before}" if before else "+"
        ids: Any = self._redis.zrevrangebylex(index, start, "-", 0, limit)
        return [job for job in self.get_many(ids) if job]

    @translated
    def queue_position(self, job_id: str) -> int | None:
        """How many queued animations are before this one; None when it is not queued."""
        return self._redis.zrank(QUEUED, job_id)  # pyright: ignore[reportReturnType]

    @translated
    def queue_depth(self) -> int:
        """How many animations are queued."""
        return self._redis.zcard(QUEUED)  # pyright: ignore[reportReturnType]

    @translated
    def under_way(self, client_id: str) -> int:
        """How many animations of a client are not final."""
        return self._redis.scard(f"{CLIENT}{client_id}:live")  # pyright: ignore[reportReturnType]

    @translated
    def running_count(self) -> int:
        """How many animations have an owner now."""
        return self._redis.zcard(LEASES)  # pyright: ignore[reportReturnType]

    @translated
    def speed(self, model: str) -> float | None:
        """Frames a second from claim to commit, a moving average of the animations that succeeded; None before one."""
        value: Any = self._redis.hget(SPEEDS, model)
        return float(value) if value else None

    @translated
    def backlog(self, at_most: int) -> Backlog:
        """What is running, and the first `at_most` of what is queued."""
        return read_backlog(self._redis, at_most)

    @translated
    def cancel(self, job_id: str) -> Job | None:
        """Cancel at once when queued, else ask the worker to stop. A terminal record stays as it is."""
        self._run("cancel", job_id)
        return self.get(job_id)

    @translated
    def purge(self, job_id: str) -> bool:
        """Remove a record in any state, without a tombstone; False when there is none.

        Its id is in the trash then (`upkeep.trash`): whoever has deleted its objects says so with
        `upkeep.objects_deleted`, else the housekeeper does both. A worker that still runs it is refused by the fence.
        """
        return bool(self._run("purge", job_id, 0))

    @translated
    def tombstone(self, job_id: str) -> Tombstone | None:
        """Whether the animation existed and its retention is over."""
        client: Any = self._redis.get(GONE + job_id)
        return None if client is None else Tombstone(client or None)

    # -- for the worker ---------------------------------------------------------------------------------------------

    @translated
    def claim(self, job_id: str, owner: str, *, after: str = "") -> Claim | None:
        """Become the owner, or None when the animation is not ours to run (done, canceled, owned, given up).

        `after` is an owner known to be gone: its lease need not be waited for.
        """
        lease_ms, max_attempts = milliseconds(self._settings.lease_s), self._settings.max_attempts
        fence: int = self._run("claim", job_id, owner, lease_ms, max_attempts, GIVEN_UP.model_dump_json(), after)
        job = self.get(job_id) if fence > 0 else None
        return Claim(job, fence) if job else None

    @translated
    def heartbeat(self, job_id: str, fence: int, frames_done: int) -> Literal["ok", "cancel", "lost"]:
        """Extend the lease and report progress. On `lost` the caller stops and shows nothing."""
        return self._run("heartbeat", job_id, fence, milliseconds(self._settings.lease_s), frames_done)

    @translated
    def stop_wanted(self, job_id: str, fence: int) -> bool:
        """Whether a heartbeat would answer other than `ok`: a cheap look between two of them."""
        state, held, canceled = self._redis.hmget(JOB + job_id, "state", "fence", "cancel_requested")  # pyright: ignore
        return (state, held, canceled) != (JobState.PROCESSING.value, str(fence), "0")

    @translated
    def commit(self, job_id: str, fence: int, result: JobResult) -> bool:
        """Make `result` the animation's one result.

        False: another worker owns it, or it was to be canceled; the result must be thrown away.
        """
        speed = speed_name(job_id, result.model)
        ended = self._finish(job_id, fence, JobState.SUCCEEDED, result.model_dump_json(), result.frames, speed)
        return ended is JobState.SUCCEEDED

    @translated
    def fail(self, job_id: str, fence: int, error: JobError, *, attempt: int) -> JobState | None:
        """End as `failed`, or queue again when the error may pass and attempts are left; or end as canceled, when that
        was asked for. None: the fence was old."""
        settings = self._settings
        if error.retryable and attempt < settings.max_attempts:
            # Not all at the same moment: what failed together would come back together.
            jitter = random.uniform(1 - _BACKOFF_JITTER, 1 + _BACKOFF_JITTER)  # noqa: S311
            delay_ms = milliseconds(jitter * settings.retry_backoff_s * 2 ** (attempt - 1))
            done = self._run("retry", job_id, fence, delay_ms, error.model_dump_json(), 0)
            return {1: JobState.QUEUED, 2: JobState.CANCELED}.get(done)
        return self._finish(job_id, fence, JobState.FAILED, error.model_dump_json(), 0)

    @translated
    def hand_over(self, job_id: str, fence: int) -> None:
        """Put it back in the queue at once, because this worker goes.

        The attempt does not count: three restarts in a row must not end a long animation as `worker_crashed`.
        """
        left = JobError(code="worker_left", detail="The worker was shut down.", retryable=True)
        self._run("retry", job_id, fence, 0, left.model_dump_json(), 1)

    @translated
    def stop_canceled(self, job_id: str, fence: int) -> bool:
        """End as `canceled` after the worker has stopped."""
        return self._finish(job_id, fence, JobState.CANCELED, "", 0) is JobState.CANCELED

    def _finish(
        self, job_id: str, fence: int, state: JobState, value: str, frames_done: int, model: str = ""
    ) -> JobState | None:
        """How it ended: in `state`, or as canceled when that was asked for. None: the fence was old."""
        done = self._run("finish", job_id, fence, state.value, value, frames_done, model)
        return {1: state, 2: JobState.CANCELED}.get(done)

    # -- which workers there are ------------------------------------------------------------------------------------

    @translated
    def announce_worker(self, name: str, slots: int) -> None:
        """Tell that a worker lives and how many animations it runs at once; to be repeated within a minute."""
        with self._redis.pipeline() as pipe:
            pipe.set(_WORKER + name, slots, ex=_WORKER_SEEN_S)
            pipe.sadd(_WORKERS, name)
            pipe.execute()

    @translated
    def dismiss_worker(self, name: str) -> None:
        """Tell that a worker has ended."""
        self._redis.delete(_WORKER + name)
        self._redis.srem(_WORKERS, name)

    @translated
    def workers_alive(self) -> dict[str, int]:
        """The workers that told of themselves within the last minute, and how many animations each runs at once."""
        names: Any = sorted(self._redis.smembers(_WORKERS))  # pyright: ignore[reportArgumentType]
        slots: Any = self._redis.mget([_WORKER + name for name in names]) if names else []
        if lost := [name for name, count in zip(names, slots, strict=True) if count is None]:
            self._redis.srem(_WORKERS, *lost)
        return {name: int(count) for name, count in zip(names, slots, strict=True) if count is not None}
