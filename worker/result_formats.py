"""What a result can be, and what can be had beside it: the names that people use, and what each is in a download."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

FormatName = Literal["mp4", "webm", "gif", "webp", "png"]


class ResultFormat(NamedTuple):
    """How a format is called elsewhere."""

    media_type: str
    suffix: str
    """Of the file's name. `png` is a ZIP archive of PNG files, one a frame."""
    holds_sound: bool


RESULT_FORMATS: dict[FormatName, ResultFormat] = {
    "mp4": ResultFormat("video/mp4", ".mp4", holds_sound=True),
    "webm": ResultFormat("video/webm", ".webm", holds_sound=True),
    "gif": ResultFormat("image/gif", ".gif", holds_sound=False),
    "webp": ResultFormat("image/webp", ".webp", holds_sound=False),
    "png": ResultFormat("application/zip", ".zip", holds_sound=False),
}
SUFFIXES = {known.media_type: known.suffix for known in RESULT_FORMATS.values()}
"""By media type."""

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
