"""A record as Redis holds it, read back."""

from __future__ import annotations

import json
from typing import NamedTuple

from worker.jobs import AnimationOptions, Job, JobContext, JobError, JobInput, JobResult, JobState


class Claim(NamedTuple):
    """The right to run an animation, until the lease ends."""

    job: Job
    fence: int


class Tombstone(NamedTuple):
    """What is left of an animation whose retention is over."""

    client_id: str | None


def read_record(fields: dict[str, str]) -> Job:
    """The record in the fields of its hash."""

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
        deadline_at=int(fields["deadline_ms"]) / 1000,
        started_at=seconds("started_ms"),
        finished_at=seconds("finished_ms"),
        expires_at=seconds("expires_ms"),
        claimed_at=seconds("claimed_ms"),
        lease_until=seconds("lease_ms"),
        cancel_requested=fields.get("cancel_requested") == "1",
        frames_done=int(fields["frames_done"]),
        frames_total=int(fields["frames_total"]),
        input=JobInput.model_validate_json(fields["input"]),
        options=_read_options(fields["options"]),
        result=JobResult.model_validate_json(fields["result"]) if "result" in fields else None,
        error=JobError(**json.loads(fields["error"])) if "error" in fields else None,
        context=JobContext.model_validate_json(fields["context"]),
    )


def _read_options(text: str) -> AnimationOptions:
    options = json.loads(text)
    # `motion_transfer` was called `motion` once: records of that time outlive an update of the service.
    if "motion" in options:
        options["motion_transfer"] = options.pop("motion")
    return AnimationOptions.model_validate(options)
