"""What a result can be, and what can be had beside it: the names that people use, and what each is in a download."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple, get_args

FormatName = Literal["mp4", "webm", "gif", "webp", "png"]


class ResultFormat(NamedTuple):
    """How a format is called elsewhere."""

    label: str
    """To people."""
    media_type: str
    suffix: str
    """Of the file's name. `png` is a ZIP archive of PNG files, one a frame."""
    holds_sound: bool


RESULT_FORMATS: dict[FormatName, ResultFormat] = {
    "mp4": ResultFormat("MP4", "video/mp4", ".mp4", holds_sound=True),
    "webm": ResultFormat("WebM", "video/webm", ".webm", holds_sound=True),
    "gif": ResultFormat("GIF", "image/gif", ".gif", holds_sound=False),
    "webp": ResultFormat("WebP", "image/webp", ".webp", holds_sound=False),
    "png": ResultFormat("PNG", "application/zip", ".zip", holds_sound=False),
}
SUFFIXES = {known.media_type: known.suffix for known in RESULT_FORMATS.values()}
"""By media type."""

_SILENT_FORMAT = "{} holds no sound: that of the driving video was left out."
_GIF_MAX_FPS = 50
_GIF_TOO_QUICK = (
    "GIF counts hundredths of a second, and players slow down what changes more often than every two: they may show it "
    "slower than it is."
)


def format_warnings(name: FormatName, fps: Fraction, *, has_sound: bool) -> tuple[str, ...]:
    """What a clip of `fps` frames a second, with sound or without, loses in a format."""
    known = RESULT_FORMATS[name]
    warnings = () if known.holds_sound or not has_sound else (_SILENT_FORMAT.format(known.label),)
    return (*warnings, _GIF_TOO_QUICK) if name == "gif" and fps > _GIF_MAX_FPS else warnings


ViewName = Literal["comparison", "keypoints", "flow", "occlusion"]
VIEW_NAMES: tuple[ViewName, ...] = get_args(ViewName)
"""Extra videos of the same animation."""
VIEW_FORMAT: FormatName = "mp4"
_ONE_VIEW = "|".join(VIEW_NAMES)
VIEWS_PATTERN = f"^({_ONE_VIEW})(,({_ONE_VIEW}))*$"


def views_of(text: str | None) -> tuple[ViewName, ...]:
    """The views of a text that `VIEWS_PATTERN` fits, each once and in their own order."""
    asked = set(text.split(",")) if text else set()
    return tuple(name for name in VIEW_NAMES if name in asked)
