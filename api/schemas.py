"""The public JSON. Never the stored record itself: storage keys, fences and owners stay inside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.problem_catalog import title_of, type_of
from api.schema_examples import ANIMATION_EXAMPLE
from worker.catalog import ModelFacts
from worker.jobs import AnimationOptions, ImageFacts, Job, JobError, JobResult, JobState, VideoFacts, as_utc
from worker.result_formats import ViewName


class PublicModel(BaseModel):
    """What all public JSON has in common: no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldProblem(PublicModel):
    """What is wrong with one field."""

    field: str = Field(examples=["motion_transfer"])
    detail: str = Field(examples=["Input should be 'relative' or 'absolute'"])


class Problem(PublicModel):
    """An error, as RFC 9457 describes it. Compare `code`; show `detail` and `hint`."""

    type: str = Field(description="A stable name of the kind of problem.", examples=[type_of("animation_not_found")])
    title: str = Field(examples=[title_of("animation_not_found")])
    status: int = Field(examples=[404])
    detail: str = Field(description="What is wrong with this request.", examples=["There is no animation 'anm_0'."])
    code: str = Field(description="Stable; the table is in docs/api.md.", examples=["animation_not_found"])
    hint: str | None = Field(default=None, description="What to do about it.")
    field: str | None = Field(default=None, description="The part or parameter that is meant.")
    errors: list[FieldProblem] | None = Field(default=None, description="When several fields are wrong.")
    request_id: str | None = Field(default=None, description="Also in the header `X-Request-ID` and in our log.")
    instance: str | None = Field(default=None, description="The path of the request.")


class Progress(PublicModel):
    """How far the animation is."""

    percent: int = Field(ge=0, le=100, description="100 only when the result can be downloaded.")
    frames_done: int
    frames_total: int


class ProgressEvent(Progress):
    """What the event `progress` carries."""

    eta_s: int | None


class AnimationInput(PublicModel):
    """What was found in the two files."""

    source_image: ImageFacts
    driving_video: VideoFacts = Field(description="With `motion` that of the template.")
    motion: str | None = Field(description="The motion template that was used in place of a video.")


class AnimationResult(PublicModel):
    """The file at `links.result`."""

    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int
    fps: str = Field(description="Exact, as a fraction.", examples=["30000/1001"])
    frames: int
    duration_s: float
    has_audio: bool
    model: str
    source_crop: str | None = Field(description="The square that was animated, as the option of this name takes it.")
    driving_crop: str | None = Field(description="The square of the video that was followed.")
    reference_frame: int | None = Field(description="The driving frame that motion was measured from.")
    held_frames: tuple[tuple[int, int], ...] = Field(
        description="Driving frames without a usable picture, in whose place the last motion was held: first and last "
        "of each stretch."
    )
    warnings: tuple[str, ...] = Field(description="What was done differently from what was asked, in sentences.")
    url: str | None = Field(description="A link to the video that works without a key until `url_expires_at`.")
    url_expires_at: datetime | None


class AnimationView(PublicModel):
    """An extra video of an animation."""

    url: str = Field(
        description="A link to the video that works without a key until `result.url_expires_at`; where there are no "
        "such links, its path."
    )
    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int


class AnimationError(PublicModel):
    """Why the animation failed while it ran: a problem without a status."""

    type: str
    title: str
    detail: str
    code: str
    hint: str | None = None
    retryable: bool = Field(description="Whether the same files and options may succeed another time.")


class AnimationLinks(PublicModel):
    """Paths; those that cannot be used in this state are null."""

    self: str
    events: str
    result: str | None
    cancel: str | None


class Animation(PublicModel):
    """One animation, from the upload to the result."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra=lambda schema: schema.update(examples=[ANIMATION_EXAMPLE])
    )

    id: str
    object: Literal["animation"] = "animation"
    status: JobState = Field(description="`succeeded`, `failed` and `canceled` are final.")
    progress: Progress
    queue_position: int | None = Field(description="How many queued animations are before this one; else null.")
    eta_s: int | None = Field(description="Seconds until it is likely to end; null when that is not known.")
    attempt: int = Field(description="How often a worker has begun it.")
    retry_of: str | None = Field(description="The failed animation that the operator had tried again as this one.")
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When it is removed; known once it has ended.")
    input: AnimationInput
    options: AnimationOptions
    result: AnimationResult | None
    views: dict[ViewName, AnimationView] = Field(description="Those that `options.views` asked for, once it succeeded.")
    error: AnimationError | None
    links: AnimationLinks

    @classmethod
    def of(
        cls,
        job: Job,
        *,
        queue_position: int | None,
        eta_s: int | None = None,
        root_path: str = "",
        result_link: tuple[str, datetime] | None = None,
        view_links: Mapping[ViewName, str] = MappingProxyType({}),
    ) -> Animation:
        """The public side of a record. `result_link` is a link to its result, and when that expires.

        `view_links` has those to its views, as far as there are any.
        """
        path = f"{root_path}/animations/{job.id}"
        done = job.state is JobState.SUCCEEDED
        return cls(
            id=job.id,
            status=job.state,
            progress=Progress(percent=job.percent, frames_done=job.frames_done, frames_total=job.frames_total),
            queue_position=queue_position if job.state is JobState.QUEUED else None,
            eta_s=eta_s,
            attempt=job.attempt,
            retry_of=job.context.retry_of,
            cancel_requested=job.cancel_requested,
            created_at=as_utc(job.created_at),
            started_at=None if job.started_at is None else as_utc(job.started_at),
            finished_at=None if job.finished_at is None else as_utc(job.finished_at),
            expires_at=None if job.expires_at is None else as_utc(job.expires_at),
            input=AnimationInput(
                source_image=job.input.picture, driving_video=job.input.driving, motion=job.input.motion
            ),
            options=job.options,
            result=_public_result(job.result, result_link) if job.result and done else None,
            views=_public_views(job.result, path, view_links) if job.result and done else {},
            error=public_error(job.error) if job.error and job.state is JobState.FAILED else None,
            links=AnimationLinks(
                self=path,
                events=f"{path}/events",
                result=f"{path}/result" if done else None,
                cancel=None if job.state.is_terminal or job.cancel_requested else f"{path}/cancel",
            ),
        )


class AnimationList(PublicModel):
    """A page of animations, newest first."""

    object: Literal["list"] = "list"
    data: list[Animation]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last one.")


class Model(PublicModel):
    """A model that animations can use."""

    name: str = Field(examples=["avatars-256"])
    object: Literal["model"] = "model"
    description: str
    frame_size: int = Field(description="Width and height of the result in pixels.", examples=[128])
    num_keypoints: int
    has_jacobians: bool
    num_parameters: int
    licence: str = Field(description="Of the weights.")
    created: str
    is_default: bool

    @classmethod
    def of(cls, facts: ModelFacts, default: str) -> Model:
        """The public side of a bundle: without its folder."""
        return cls(**facts.model_dump(exclude={"folder", "bundle_sha256"}), is_default=facts.name == default)


class ModelList(PublicModel):
    """The models, by name."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(PublicModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(PublicModel):
    """All parts the service needs answer."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok"]] = Field(examples=[{"queue": "ok", "storage": "ok"}])


def _public_result(result: JobResult, link: tuple[str, datetime] | None) -> AnimationResult:
    url, expires_at = link or (None, None)
    return AnimationResult(
        **result.model_dump(exclude={"key", "views", "bundle_sha256"}), url=url, url_expires_at=expires_at
    )


def _public_views(result: JobResult, path: str, links: Mapping[ViewName, str]) -> dict[ViewName, AnimationView]:
    return {
        name: AnimationView(**view.model_dump(exclude={"key"}), url=links.get(name, f"{path}/views/{name}"))
        for name, view in result.views.items()
    }


def public_error(error: JobError) -> AnimationError:
    """The error of a job that failed."""
    return AnimationError(type=type_of(error.code), title=title_of(error.code), **error.model_dump())
