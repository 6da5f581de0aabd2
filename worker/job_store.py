"""The records of all animations, in Redis. Every change is one Lua script; the time is Redis's own.

Celery's message is only a doorbell: whether a worker may run an animation, and whether its result counts, is decided
here, by `claim` and by the fence that `claim` hands out (docs/decisions/0001-doorbell-and-record.md).

    animato:job:{id}      hash, the record          animato:jobs:queued   sorted set, by the time it is due
    animato:jobs:leases   sorted set, by expiry     animato:jobs:index    sorted set of all ids, by age
    animato:jobs:dead     list of failed ids
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import redis

from worker.jobs import AnimationOptions, Job, JobContext, JobError, JobInput, JobResult, JobState
from worker.redis_client import connect, translated
from worker.settings import Settings

_PREFIX = "animato:"
_JOB = f"{_PREFIX}job:"
_QUEUED = f"{_PREFIX}jobs:queued"
_LEASES = f"{_PREFIX}jobs:leases"
_INDEX = f"{_PREFIX}jobs:index"
_DEAD = f"{_PREFIX}jobs:dead"
_SCRIPTS = Path(__file__).with_name("lua")
_GIVEN_UP = JobError(
    code="worker_crashed",
    detail="The worker was lost each time it ran this animation.",
    hint="The inputs may be too much for the worker's memory: try a smaller or shorter video, or tell the operator.",
)


class Claim(NamedTuple):
    """The right to run an animation, until the lease ends."""

    job: Job
    fence: int


class JobStore:
    """Read and change records; safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._settings = settings
        self._scripts = {path.stem: client.register_script(path.read_text()) for path in _SCRIPTS.glob("*.lua")}

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """A store on `settings.redis_url`; the connection itself is opened at the first call."""
        return cls(connect(settings), settings)

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def _run(self, script: str, keys: list[str], *args: str | int) -> Any:
        return self._scripts[script](keys=keys, args=[str(arg) for arg in args])

    # -- for the API ------------------------------------------------------------------------------------------------

    @translated
    def ping(self) -> None:
        """Raise `QueueUnavailable` unless Redis answers."""
        self._redis.ping()

    @translated
    def submit(
        self, job_id: str, job_input: JobInput, options: AnimationOptions, context: JobContext | None = None
    ) -> Job:
        """Store a new record in state `queued`. From here on the animation ends in a terminal state."""
        # The script answers with the record: a second read could fail and make an accepted job look refused.
        flat: list[str] = self._run(
            "submit",
            [_JOB + job_id, _QUEUED, _INDEX],
            job_id,
            job_input.model_dump_json(),
            options.model_dump_json(),
            job_input.driving.frames,
            (context or JobContext()).model_dump_json(),
        )
        return _parse(dict(zip(flat[::2], flat[1::2], strict=True)))

    @translated
    def get(self, job_id: str) -> Job | None:
        """The record, or None."""
        fields: dict[str, str] = self._redis.hgetall(_JOB + job_id)  # pyright: ignore[reportAssignmentType]
        return _parse(fields) if fields else None

    @translated
    def page(self, limit: int, *, before: str | None = None) -> list[Job]:
        """The newest `limit` records, or those older than the id `before`; newest first."""
        start = f"({before}" if before else "+"
        ids: Any = self._redis.zrevrangebylex(_INDEX, start, "-", 0, limit)
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(_JOB + job_id)
            return [_parse(fields) for fields in pipe.execute() if fields]

    @translated
    def queue_position(self, job_id: str) -> int | None:
        """How many queued animations are before this one; None when it is not queued."""
        return self._redis.zrank(_QUEUED, job_id)  # pyright: ignore[reportReturnType]

    @translated
    def queue_depth(self) -> int:
        """How many animations are queued."""
        return self._redis.zcard(_QUEUED)  # pyright: ignore[reportReturnType]

    @translated
    def cancel(self, job_id: str) -> Job | None:
        """Cancel at once when queued, else ask the worker to stop. A terminal record stays as it is."""
        self._run("cancel", [_JOB + job_id, _QUEUED], job_id)
        return self.get(job_id)

    # -- for the worker ---------------------------------------------------------------------------------------------

    @translated
    def claim(self, job_id: str, owner: str, *, after: str = "") -> Claim | None:
        """Become the owner, or None when the animation is not ours to run (done, canceled, owned, given up).

        `after` is an owner known to be gone: its lease need not be waited for.
        """
        settings = self._settings
        fence: int = self._run(
            "claim",
            [_JOB + job_id, _QUEUED, _LEASES, _DEAD],
            job_id,
            owner,
            _milliseconds(settings.lease_s),
            settings.max_attempts,
            _GIVEN_UP.model_dump_json(),
            after,
        )
        job = self.get(job_id) if fence > 0 else None
        return Claim(job, fence) if job else None

    @translated
    def heartbeat(self, job_id: str, fence: int, frames_done: int) -> Literal["ok", "cancel", "lost"]:
        """Extend the lease and report progress. On `lost` the caller stops and shows nothing."""
        keys = [_JOB + job_id, _LEASES]
        return self._run("heartbeat", keys, job_id, fence, _milliseconds(self._settings.lease_s), frames_done)

    @translated
    def cancel_requested(self, job_id: str) -> bool:
        """Whether somebody asked to cancel the animation: a cheap look between heartbeats."""
        return self._redis.hget(_JOB + job_id, "cancel_requested") == "1"

    @translated
    def commit(self, job_id: str, fence: int, result: JobResult) -> bool:
        """Make `result` the animation's one result. False: another worker owns it, the result must be thrown away."""
        return self._finish(job_id, fence, JobState.SUCCEEDED, "result", result.model_dump_json(), result.frames)

    @translated
    def fail(self, job_id: str, fence: int, error: JobError, *, attempt: int) -> JobState | None:
        """End as `failed`, or queue again when the error may pass and attempts are left. None: the fence was old."""
        settings = self._settings
        if error.retryable and attempt < settings.max_attempts:
            delay_ms = _milliseconds(settings.retry_backoff_s * 2 ** (attempt - 1))
            keys = [_JOB + job_id, _QUEUED, _LEASES]
            done = self._run("retry", keys, job_id, fence, delay_ms, error.model_dump_json())
            return {1: JobState.QUEUED, 2: JobState.CANCELED}.get(done)
        done = self._finish(job_id, fence, JobState.FAILED, "error", error.model_dump_json(), 0)
        return JobState.FAILED if done else None

    @translated
    def stop_canceled(self, job_id: str, fence: int) -> bool:
        """End as `canceled` after the worker has stopped."""
        return self._finish(job_id, fence, JobState.CANCELED, "", "", 0)

    def _finish(self, job_id: str, fence: int, state: JobState, field: str, value: str, frames_done: int) -> bool:
        keys = [_JOB + job_id, _LEASES, _DEAD]
        return bool(self._run("finish", keys, job_id, fence, state.value, field, value, frames_done))

    # -- for the housekeeper ----------------------------------------------------------------------------------------

    @translated
    def become_housekeeper(self, name: str, hold_s: float) -> bool:
        """Whether `name` is the one housekeeper for the next `hold_s` seconds."""
        key = f"{_PREFIX}housekeeper"
        if self._redis.set(key, name, nx=True, px=_milliseconds(hold_s)):
            return True
        return self._redis.get(key) == name and bool(self._redis.pexpire(key, _milliseconds(hold_s)))

    @translated
    def release_expired(self, at_most: int = 100) -> list[str]:
        """Queue animations again whose worker fell silent; their ids."""
        return self._run("release", [_QUEUED, _LEASES], _JOB, at_most)

    @translated
    def due_rings(self, at_most: int = 100, *, first_wait_s: float = 15.0) -> list[str]:
        """Queued animations whose doorbell must be rung (again); calling this counts as ringing them."""
        return self._run("due_rings", [_QUEUED], _JOB, at_most, _milliseconds(first_wait_s))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _parse(fields: dict[str, str]) -> Job:
    """A record from its hash."""

    def seconds(name: str) -> float | None:
        value = fields.get(name)
        return int(value) / 1000 if value else None

    return Job(
        id=fields["id"],
        state=JobState(fields["state"]),
        version=int(fields["version"]),
        attempt=int(fields["attempt"]),
        fence=int(fields["fence"]),
        owner=fields.get("owner"),
        created_at=int(fields["created_ms"]) / 1000,
        started_at=seconds("started_ms"),
        finished_at=seconds("finished_ms"),
        lease_until=seconds("lease_ms"),
        cancel_requested=fields.get("cancel_requested") == "1",
        frames_done=int(fields["frames_done"]),
        frames_total=int(fields["frames_total"]),
        input=JobInput.model_validate_json(fields["input"]),
        options=AnimationOptions.model_validate_json(fields["options"]),
        result=JobResult.model_validate_json(fields["result"]) if "result" in fields else None,
        error=JobError(**json.loads(fields["error"])) if "error" in fields else None,
        context=JobContext.model_validate_json(fields["context"]),
    )
