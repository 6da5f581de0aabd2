"""What a person can ask for: the same names over HTTP, on the command line and in the record."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.errors import InvalidOptions
from worker.result_formats import VIEWS_PATTERN, FormatName, views_of
from worker.squares import CROP_PATTERN

_MOST_SUBJECTS = 15


class AnimationOptions(BaseModel):
    """What a person can ask for; the API takes these as form fields, the command line as flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(
        default=None, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the bundle."
    )
    motion_transfer: Literal["relative", "absolute"] = Field(
        default="relative",
        description="`relative` moves the source by what changed since the reference frame of the driving video (keeps "
        "its own pose and proportions); `absolute` takes over the driver's keypoints as they are.",
    )
    relative_jacobian: bool = Field(
        default=True, description="With `relative`: also rotate, scale and shear around each keypoint relatively."
    )
    adapt_scale: bool = Field(
        default=False,
        description="With `relative`: scale the movement by the size of the source's constellation of keypoints.",
    )
    reference_frame: str = Field(
        default="auto",
        pattern=r"^(auto|first|\d{1,7})$",
        description="With `relative`: the driving frame that motion is measured from. `auto` is the one whose pose is "
        "most like the source's; `first`; or a number, counted from 0.",
    )
    smoothing: float = Field(
        default=0.0, ge=0, le=1, description="Steadies the motion; 0 leaves every frame's keypoints as they are."
    )
    source_crop: str = Field(
        default="auto",
        pattern=CROP_PATTERN,
        description="Which square of the picture is animated: `auto` around its subject, `none` the largest in the "
        "middle, or `x,y,w,h` in pixels.",
    )
    driving_crop: str = Field(
        default="auto", pattern=CROP_PATTERN, description="The same for the video: one square for all frames."
    )
    subject: int = Field(
        default=0, ge=0, le=_MOST_SUBJECTS, description="Which face of the picture, the largest first. With `auto`."
    )
    driving_subject: int = Field(
        default=0, ge=0, le=_MOST_SUBJECTS, description="Which face of the video, the largest first. With `auto`."
    )
    size: int | None = Field(
        default=None,
        ge=64,
        le=2048,
        multiple_of=2,
        description="Pixels a side of the animated square; else the model's.",
    )
    paste_back: bool = Field(
        default=False, description="Put the animated square back into the whole picture; the result has its size."
    )
    audio: bool = Field(default=True, description="Keep the sound of the driving video, where `format` holds it.")
    format: FormatName = Field(
        default="mp4", description="Of the result. `png` is a ZIP archive of lossless frames; `gif` and `webp` move."
    )
    mark: Literal["none", "label"] = Field(
        default="none",
        description="`label`: a small label in a corner of the result and of its views says that they are animated.",
    )
    views: str | None = Field(
        default=None,
        max_length=100,
        pattern=VIEWS_PATTERN,
        description="Extra videos of the same animation, separated by commas: `comparison` (source, driving, result), "
        "`keypoints` (with their Jacobians' axes), `flow` (as colours) and `occlusion`.",
    )


def check_views_of_motion(views: str | None) -> None:
    """Raise `InvalidOptions` for views that show the driving clip, where a motion template takes its place."""
    needed = [name for name in views_of(views) if name in ("comparison", "keypoints")]
    if needed:
        raise InvalidOptions(
            f"views: {', '.join(needed)} would show the driving video, which a motion does not have.",
            hint="flow and occlusion can be had with a motion.",
        )


def check_reference_frame(wanted: str, frames: int) -> None:
    """Raise `InvalidOptions` (`reference_frame_missing`) for a number that a clip of `frames` frames does not have."""
    if wanted.isdigit() and int(wanted) >= frames:
        raise InvalidOptions(
            f"reference_frame: the video has no frame {wanted}; it has {frames}.",
            code="reference_frame_missing",
            hint="Frames are counted from 0. auto and first always exist.",
        )
