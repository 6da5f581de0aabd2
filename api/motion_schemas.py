"""The public JSON of motion templates."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.schemas import AnimationError, Progress, PublicModel, public_error
from worker.jobs import Job, JobState, VideoFacts, as_utc


class MotionInput(PublicModel):
    """What was found in the file."""

    driving_video: VideoFacts


class MotionOptions(PublicModel):
    """What was asked for."""

    model: str | None
    driving_crop: str
    driving_subject: int


class MotionResult(PublicModel):
    """The file at `links.file`."""

    media_type: str
    size_bytes: int
    sha256: str
    fps: str = Field(description="Exact, as a fraction.", examples=["30000/1001"])
    frames: int
    duration_s: float
    has_audio: bool = Field(description="Whether animations made with it have sound.")
    model: str
    driving_crop: str | None = Field(description="The square of the video that was followed.")
    warnings: tuple[str, ...]


class MotionLinks(PublicModel):
    """Paths; those that cannot be used in this state are null."""

    self: str
    file: str | None


class Motion(PublicModel):
    """One motion template: the keypoints of a driving video, to be used with any picture."""

    id: str
    object: Literal["motion"] = "motion"
    status: JobState = Field(description="`succeeded`, `failed` and `canceled` are final.")
    progress: Progress
    queue_position: int | None = Field(description="How many queued jobs are before this one; else null.")
    eta_s: int | None = Field(description="Seconds until it is likely to end; null when that is not known.")
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When it is removed; known once it has ended.")
    input: MotionInput
    options: MotionOptions
    result: MotionResult | None
    error: AnimationError | None
    links: MotionLinks

    @classmethod
    def of(
        cls, job: Job, *, queue_position: int | None = None, eta_s: int | None = None, root_path: str = ""
    ) -> Motion:
        """The public side of a record."""
        path, done = f"{root_path}/motions/{job.id}", job.state is JobState.SUCCEEDED
        options, result = job.options, job.result
        return cls(
            id=job.id,
            status=job.state,
            progress=Progress(percent=job.percent, frames_done=job.frames_done, frames_total=job.frames_total),
            queue_position=queue_position if job.state is JobState.QUEUED else None,
            eta_s=eta_s,
            attempt=job.attempt,
            created_at=as_utc(job.created_at),
            started_at=None if job.started_at is None else as_utc(job.started_at),
            finished_at=None if job.finished_at is None else as_utc(job.finished_at),
            expires_at=None if job.expires_at is None else as_utc(job.expires_at),
            input=MotionInput(driving_video=job.input.driving),
            options=MotionOptions(
                model=options.model, driving_crop=options.driving_crop, driving_subject=options.driving_subject
            ),
            result=MotionResult(**result.model_dump(include=set(MotionResult.model_fields)))
            if result and done
            else None,
            error=public_error(job.error) if job.error and job.state is JobState.FAILED else None,
            links=MotionLinks(self=path, file=f"{path}/file" if done else None),
        )


class MotionList(PublicModel):
    """A page of motion templates, newest first."""

    object: Literal["list"] = "list"
    data: list[Motion]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last one.")
