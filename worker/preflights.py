"""A look at what an animation would be, before it is one: what is asked, what is answered, and the line between.

The API asks, a *lane* answers (`worker.engine.preflight_lane`): a process of its own, so that a long animation keeps
nobody waiting. Nothing of it is a record: the question and the answer are keys with a short life, and a question that
nobody waits for any more is not worked on (docs/decisions/0005-preflight-lane.md).
"""

from __future__ import annotations

from typing import Any, Literal, Self

import redis
from pydantic import BaseModel, ConfigDict, Field

from worker.animation_options import AnimationOptions
from worker.errors import AnimationError
from worker.jobs import JobInput
from worker.redis_client import PREFIX, connect, translated
from worker.settings import Settings

_QUESTION = f"{PREFIX}preflight:question:"
_ANSWER = f"{PREFIX}preflight:answer:"
_LINE = f"{PREFIX}preflight:line"
"""List of the ids of questions, the oldest first."""
_LANE = f"{PREFIX}preflight:lane"
"""There while a lane lives."""
LANE_SEEN_S = 10
_ANSWER_KEPT_S = 30


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Subject(_Facts):
    """A face that was found."""

    index: int = Field(description="What the option `subject` or `driving_subject` calls it; the largest is 0.")
    box: tuple[int, int, int, int] = Field(
        description="x, y, width, height in pixels; of a video the box around all its places.",
        examples=[[120, 80, 200, 200]],
    )


class SourceLook(_Facts):
    """What was found in the picture."""

    width: int
    height: int
    subjects: tuple[Subject, ...]
    subject: int | None = Field(description="The one that is animated; null when the square is not one around a face.")
    crop: tuple[int, int, int, int] = Field(description="The square that is animated: x, y, width, height.")


class DrivingLook(SourceLook):
    """What was found in the video."""

    frame_count: int
    frame_rate: str = Field(description="Exact, as a fraction.", examples=["30000/1001"])
    duration_s: float
    has_audio: bool


class Mismatch(_Facts):
    """How unlike the pose of the picture is to the driving frame that motion is measured from."""

    score: float = Field(ge=0, le=1, description="0: the same pose; docs/motion.md says how it was calibrated.")
    level: Literal["good", "fair", "poor"]
    hint: str | None = Field(description="What can be done about it, in plain words; null when it is good.")


class Estimate(_Facts):
    """What the animation costs."""

    frames: int
    seconds: float | None = Field(description="From pick-up to result, without waiting in the queue.")
    frames_per_second: float | None = Field(description="Measured on this installation.")


class Preview(_Facts):
    """A picture."""

    media_type: Literal["image/png"] = "image/png"
    data: str = Field(description="Base64.")


class Preflight(_Facts):
    """What an animation would be."""

    source: SourceLook
    driving: DrivingLook
    reference_frame: int = Field(description="The driving frame that motion is measured from.")
    mismatch: Mismatch
    estimate: Estimate
    preview: Preview = Field(description="The animated square in the frame that moves most.")
    warnings: tuple[str, ...] = Field(description="What would be done differently from what was asked, in sentences.")


class Question(_Facts):
    """What is asked."""

    input: JobInput
    options: AnimationOptions


class Refusal(_Facts):
    """Why there is no look: an `AnimationError`."""

    code: str
    detail: str
    hint: str | None
    http_status: int

    @classmethod
    def of(cls, error: AnimationError) -> Self:
        """The error, to be sent."""
        return cls(code=error.code, detail=error.detail, hint=error.hint, http_status=error.http_status)


class Answer(_Facts):
    """One of the two."""

    preflight: Preflight | None = None
    refusal: Refusal | None = None


class PreflightLine:
    """Questions and answers in Redis; safe to share between threads and processes."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """A line on `settings.redis_url`."""
        return cls(connect(settings))

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    # -- for who asks -----------------------------------------------------------------------------------------------

    @translated
    def length(self) -> int | None:
        """How many questions wait for a lane; None when no lane lives."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(_LANE)
            pipe.llen(_LINE)
            lives, waiting = pipe.execute()
        return waiting if lives else None

    @translated
    def ask(self, question_id: str, question: Question, lives_s: float) -> None:
        """Put a question into the line; nobody works on it after `lives_s`."""
        with self._redis.pipeline() as pipe:
            pipe.set(_QUESTION + question_id, question.model_dump_json(), px=round(lives_s * 1000))
            pipe.rpush(_LINE, question_id)
            pipe.expire(_LINE, round(2 * lives_s) + 1)
            pipe.execute()

    @translated
    def answer_to(self, question_id: str) -> Answer | None:
        """The answer, when there is one."""
        text: Any = self._redis.get(_ANSWER + question_id)
        return None if text is None else Answer.model_validate_json(text)

    @translated
    def forget(self, question_id: str) -> None:
        """Nobody waits for the answer (any more); a lane that works on it stops."""
        with self._redis.pipeline() as pipe:
            pipe.delete(_QUESTION + question_id, _ANSWER + question_id)
            pipe.lrem(_LINE, 0, question_id)
            pipe.execute()

    # -- for the lane -----------------------------------------------------------------------------------------------

    @translated
    def tell_alive(self) -> None:
        """Tell that a lane lives; to be repeated within `LANE_SEEN_S`."""
        self._redis.set(_LANE, 1, ex=LANE_SEEN_S)

    @translated
    def take(self, wait_s: float) -> tuple[str, Question] | None:
        """The next question that somebody waits for, or None when there is none within `wait_s`."""
        found: Any = self._redis.blpop([_LINE], timeout=wait_s)
        if found is None:
            return None
        text: Any = self._redis.get(_QUESTION + found[1])
        return None if text is None else (found[1], Question.model_validate_json(text))

    @translated
    def is_waited_for(self, question_id: str) -> bool:
        """Whether somebody still waits for the answer."""
        return bool(self._redis.exists(_QUESTION + question_id))

    @translated
    def answer(self, question_id: str, answer: Answer) -> None:
        """Answer, unless nobody waits."""
        # The question goes with the answer. One that is given up between the two leaves an answer for seconds.
        if self._redis.delete(_QUESTION + question_id):
            self._redis.set(_ANSWER + question_id, answer.model_dump_json(), ex=_ANSWER_KEPT_S)
