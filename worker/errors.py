"""The errors of a job, as one tree with stable codes.

    AnimationError            code, detail, hint, retryable; `http_status` is what the API answers before the 202
    ├── MediaRejected         the person's file is the reason; never retried
    │   ├── UnsupportedMedia  415: a container, codec or picture format outside the allow-list
    │   └── MediaTooLarge     413: more bytes than a limit allows
    ├── MotionRejected        422: a motion template that is damaged, or of another model
    ├── InvalidOptions        422: an option that does not fit the others or the model
    ├── ModelUnavailable      the bundle asked for is not installed or is damaged
    ├── InferenceFailed       the network failed on this input (retryable: out of memory, a CUDA fault)
    ├── EncodingFailed        ffmpeg could not write the result; retryable
    ├── StorageUnavailable    503: the object storage does not answer, or refuses; retryable
    ├── QueueUnavailable      503: Redis does not answer; retryable
    ├── EmbeddedError         `animato up` cannot start or keep one of its parts
    ├── ApiKeysUnusable       the configured API keys or the name of a new one cannot be used
    └── JobStopped            raised inside a running job to leave it
        ├── JobCanceled       somebody canceled the animation
        ├── WorkerLeaves      the worker was told to go; another one shall take over
        └── LeaseLost         another worker owns the animation now; nothing of ours may become visible

A code is part of the public contract: clients compare it, so it never changes its meaning.
"""

from __future__ import annotations


class AnimationError(Exception):
    """An error with a stable code, a sentence for people and a hint what to do.

    `code` is snake_case and stable; `detail` says what is wrong with this input; `hint` says what to do about it;
    `retryable` says whether the same job may succeed when it is run again.
    """

    code: str = "internal_error"
    http_status: int = 500
    retryable: bool = False

    def __init__(
        self, detail: str, *, code: str | None = None, hint: str | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class MediaRejected(AnimationError):
    """A source image or driving video that cannot be animated.

    Codes: `media_rejected` (cannot be decoded), `media_too_small`, `media_too_large` (pixels), `media_too_long`
    (frames or seconds), `frame_rate_too_high`, `no_video_stream`, `not_an_animation`, `media_timeout`.
    """

    code = "media_rejected"
    http_status = 422


class UnsupportedMedia(MediaRejected):
    """The bytes are of a container, codec or picture format outside the allow-list."""

    code = "unsupported_media_type"
    http_status = 415


class MediaTooLarge(MediaRejected):
    """The file has more bytes than its limit."""

    code = "part_too_large"
    http_status = 413


class MotionRejected(AnimationError):
    """A motion template that cannot be used.

    Codes: `motion_damaged`, `motion_version_unsupported`, `motion_other_model`.
    """

    code = "motion_damaged"
    http_status = 422


class InvalidOptions(AnimationError):
    """An option of an animation has a value that cannot be used."""

    code = "invalid_options"
    http_status = 422


class ModelUnavailable(AnimationError):
    """The bundle that was asked for is not installed or is damaged."""

    code = "model_unavailable"
    http_status = 422


class InferenceFailed(AnimationError):
    """The network failed; `code` tells `out_of_memory` and `device_error` apart."""

    code = "inference_failed"
    retryable = True


class EncodingFailed(AnimationError):
    """ffmpeg could not write the result."""

    code = "encoding_failed"
    retryable = True


class StorageUnavailable(AnimationError):
    """The object storage did not answer or refused."""

    code = "storage_unavailable"
    http_status = 503
    retryable = True


class QueueUnavailable(AnimationError):
    """Redis did not answer in time, or refused.

    `outcome_unknown`: the command may have been carried out, only its answer was lost.
    """

    code = "queue_unavailable"
    http_status = 503
    retryable = True
    outcome_unknown = False


class FfmpegUnusable(AnimationError):
    """The ffmpeg that `IMAGEIO_FFMPEG_EXE` names cannot do what is asked of it."""

    code = "ffmpeg_unusable"


class EmbeddedError(AnimationError):
    """A part of the one-command stack cannot be started or was lost."""

    code = "embedded_failed"


class ApiKeysUnusable(AnimationError):
    """A key cannot be made, found or read from the settings."""

    code = "invalid_api_keys"


class JobStopped(Exception):
    """Leaves a running job without marking it failed."""


class JobCanceled(JobStopped):
    """The animation was canceled while it ran."""


class WorkerLeaves(JobStopped):
    """The worker is shutting down and has waited long enough for the animation."""


class LeaseLost(JobStopped):
    """Another worker owns the animation now."""
