"""What a job is: its states, its options, its record.

States and the transitions that exist (`job_store` changes them, each in one Lua script; a terminal state is final):

    queued     → processing | canceled | failed
    processing → succeeded | failed | canceled | queued (a retry, or a lease that ran out)
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, computed_field

from worker.animation_options import AnimationOptions
from worker.result_formats import ViewName

TASK_NAME = "animato.animate"
QUEUE_NAME = "animations"
QUEUE_KEY_PREFIX = "animato:queue:"
BELLS_KEY = QUEUE_KEY_PREFIX + QUEUE_NAME
"""Where Celery keeps the messages that no worker has taken yet: a list in Redis."""


class JobKind(StrEnum):
    """What a job makes. The prefix of its id tells the kind, everywhere."""

    ANIMATION = "anm_"
    MOTION = "mot_"
    """A motion template: the keypoints of a driving clip, in a file."""


TEMPLATE_MEDIA_TYPE = "application/vnd.animato.motion+safetensors"
_FOLDERS = {JobKind.ANIMATION: "animations", JobKind.MOTION: "motions"}
FOLDERS = tuple(_FOLDERS.values())
"""In the storage: the objects of each job lie in one of these, below its id."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts like the number, no i l o u
_ID_LENGTH = 26  # 128 bits


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """Whether the state never changes again."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PROCESSING, JobState.CANCELED, JobState.FAILED}),
    JobState.PROCESSING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELED: frozenset(),
}


class ImageFacts(BaseModel):
    """What the probe of a source image found (after EXIF rotation)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str


class VideoFacts(BaseModel):
    """What the probe of a driving video found; `frames` were counted by decoding, after normalisation to `fps`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    media_type: str
    codec: str
    width: int
    """Upright and with square pixels: as a person sees it."""
    height: int
    fps: str
    """Exact, as a fraction: `30000/1001`."""
    frames: int
    duration_s: float
    rotation_deg: int
    variable_frame_rate: bool
    has_audio: bool
    audio_note: str | None = None
    """Why `has_audio` is false although the video has a sound track, in a sentence."""
    has_alpha: bool
    damaged_frames: tuple[tuple[int, int], ...] = ()
    """Those that cannot be decoded, first and last of each stretch; their places are kept."""
    size_bytes: int
    sha256: str


class JobInput(BaseModel):
    """The files of a job: where they are stored and what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source_key: str = ""
    source: ImageFacts | None = None
    """Empty and None for a motion template, which has only a driving clip."""
    driving_key: str
    driving: VideoFacts
    motion: str | None = None
    """The motion template of which `driving_key` is a copy; None when it is the clip itself."""

    @property
    def picture(self) -> ImageFacts:
        """The source of an animation."""
        assert self.source is not None, "a motion template has no picture"
        return self.source

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all of them."""
        return (self.driving_key,) if not self.source_key else (self.source_key, self.driving_key)


class WebhookTarget(BaseModel):
    """Who is told of an animation's end, and of which ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    states: tuple[JobState, ...]


class JobContext(BaseModel):
    """Who asked for an animation and how: what travels with the record, and decides nothing of the pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_id: str | None = None
    traceparent: str | None = None
    """Of the request, so that its trace goes on in the worker."""
    client_id: str | None = None
    """Whose animation it is; None without API keys."""
    retry_of: str | None = None
    """The failed animation that an operator had tried again as this one."""
    webhook: WebhookTarget | None = None


class JobView(BaseModel):
    """An extra video of an animation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int


class JobResult(BaseModel):
    """The one visible result of a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int
    fps: str
    frames: int
    duration_s: float
    has_audio: bool
    model: str
    source_crop: str | None = None
    """The square that was animated, as the option takes it."""
    driving_crop: str | None = None
    reference_frame: int | None = None
    held_frames: tuple[tuple[int, int], ...] = ()
    """Driving frames in whose place the last motion was held: first and last of each stretch."""
    bundle_sha256: str | None = None
    """Of a motion template: the bundle whose keypoints it holds."""
    warnings: tuple[str, ...] = ()
    views: dict[ViewName, JobView] = {}
    """Visible with the result, and gone with it."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All objects of it in the storage."""
        return (self.key, *(view.key for view in self.views.values()))


class JobError(BaseModel):
    """Why an animation failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    detail: str
    hint: str | None = None
    retryable: bool = False


class Job(BaseModel):
    """The record of one job, as Redis holds it. Times are seconds since 1970 of the Redis clock."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    state: JobState
    version: int
    """Grows with every change a reader can see."""
    attempt: int = 0
    """Claims so far, without those that a worker which had to go handed over."""
    fence: int = 0
    """Only the holder of the newest fence may commit."""
    owner: str | None = None
    created_at: float
    deadline_at: float
    """When it is failed if it is not final by then."""
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    """When the record and its objects are removed; known once it is final."""
    claimed_at: float | None = None
    """Begin of the newest attempt; `started_at` is that of the first."""
    lease_until: float | None = None
    cancel_requested: bool = False
    frames_done: int = 0
    frames_total: int
    input: JobInput
    options: AnimationOptions
    result: JobResult | None = None
    error: JobError | None = None
    context: JobContext = JobContext()

    @property
    def kind(self) -> JobKind:
        """What it makes."""
        return kind_of(self.id)

    @computed_field
    @property
    def percent(self) -> int:
        """Progress in whole percent; 100 only when the result is visible."""
        if self.state is JobState.SUCCEEDED:
            return 100
        return min(99, 100 * self.frames_done // max(1, self.frames_total))


def new_id(kind: JobKind = JobKind.ANIMATION) -> str:
    """A new id: 48 bits of time and 80 random ones, so ids sort by age and cannot be guessed."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    digits = (_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_ID_LENGTH - 1), -1, -5))
    return kind + "".join(digits)


def is_id(text: str, kind: JobKind = JobKind.ANIMATION) -> bool:
    """Whether `text` has the form of an id of this kind (so that nothing else reaches Redis or the storage)."""
    body = text.removeprefix(kind)
    return text.startswith(kind) and len(body) == _ID_LENGTH and all(char in _ALPHABET for char in body)


def kind_of(job_id: str) -> JobKind:
    """The kind that an id names."""
    return JobKind(job_id[: len(JobKind.ANIMATION)])


def folder_of(job_id: str) -> str:
    """Where the objects of a job lie in the storage."""
    return f"{_FOLDERS[kind_of(job_id)]}/{job_id}"


def speed_name(job_id: str, model: str) -> str:
    """The name under which the speed of a model is kept: a motion template takes less time a frame than a picture."""
    return model if kind_of(job_id) is JobKind.ANIMATION else f"{kind_of(job_id)}{model}"


def id_time(job_id: str) -> float:
    """When an id was made, in seconds since 1970 of the clock of its maker."""
    number = 0
    for char in job_id.removeprefix(kind_of(job_id)):
        number = number << 5 | _ALPHABET.index(char)
    return (number >> 80) / 1000


def as_utc(seconds: float) -> datetime:
    """Seconds since 1970 as an aware datetime."""
    return datetime.fromtimestamp(seconds, tz=UTC)
