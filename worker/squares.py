"""Squares of a picture: what the network is shown of it. A square may reach outside; there the picture is reflected.

Shapes: T frames, H W height and width, C channels. Pixels are those of the upright picture with square pixels.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from worker.errors import InvalidOptions

CROP_PATTERN = r"^(auto|none|-?\d{1,5},-?\d{1,5},\d{1,5},\d{1,5})$"
"""`auto`, `none`, or `x,y,w,h` in pixels."""

SMALLEST_PX = 16
_LARGEST = 4  # times the longer side of the picture: farther out there is nothing but reflections
_NUMBERS = re.compile(r"-?\d+")


class Square(NamedTuple):
    """A square of a picture, in its pixels."""

    left: int
    top: int
    side: int

    def visible(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The part inside a picture of this size: left, top, right, bottom."""
        return (
            max(0, self.left),
            max(0, self.top),
            min(width, self.left + self.side),
            min(height, self.top + self.side),
        )

    def is_inside(self, width: int, height: int) -> bool:
        """Whether no part of it is outside a picture of this size."""
        return self.visible(width, height) == (self.left, self.top, self.left + self.side, self.top + self.side)


class Framing(NamedTuple):
    """How frames are wanted: which square of them (None: all of it), at which width and height."""

    square: Square | None
    width: int
    height: int


def centre_square(width: int, height: int) -> Square:
    """The largest square in the middle."""
    side = min(width, height)
    return Square((width - side) // 2, (height - side) // 2, side)


def asked_square(crop: str, width: int, height: int, name: str) -> Square:
    """The square of `x,y,w,h`: the smallest around the middle of that rectangle that holds it.

    Raises `InvalidOptions` (`crop_impossible`) when it is tiny, huge, or shows nothing of a picture of this size.
    """
    left, top, wide, high = map(int, _NUMBERS.findall(crop))
    side = max(wide, high)
    square = Square(round(left + (wide - side) / 2), round(top + (high - side) / 2), side)
    x0, y0, x1, y1 = square.visible(width, height)
    if min(wide, high) >= SMALLEST_PX and side <= _LARGEST * max(width, height) and x0 < x1 and y0 < y1:
        return square
    raise InvalidOptions(
        f"{name}: {crop} is no usable part of a picture of {width}×{height} pixels.",
        code="crop_impossible",
        hint=f"x,y,w,h in pixels: at least {SMALLEST_PX} wide and high, at least partly in the picture. Or auto.",
    )


def as_option(square: Square) -> str:
    """As the options `source_crop` and `driving_crop` take it: the same square again."""
    return f"{square.left},{square.top},{square.side},{square.side}"


def check_crop(crop: str, width: int, height: int, name: str) -> None:
    """Raise `InvalidOptions` (`crop_impossible`) when `x,y,w,h` cannot be cut out of a picture of this size."""
    if crop not in ("auto", "none"):
        asked_square(crop, width, height, name)


def scaled_visible(square: Square, width: int, height: int, size_px: int) -> tuple[int, int, int, int]:
    """Where the visible part of `square` lies when the square has `size_px` a side; at least a pixel each way."""
    scale = size_px / square.side
    x0, y0, x1, y1 = square.visible(width, height)
    left, right = _at_least_one(round((x0 - square.left) * scale), round((x1 - square.left) * scale), size_px)
    top, bottom = _at_least_one(round((y0 - square.top) * scale), round((y1 - square.top) * scale), size_px)
    return left, top, right, bottom


def _at_least_one(start: int, end: int, size_px: int) -> tuple[int, int]:
    start = min(start, size_px - 1)
    return start, max(end, start + 1)
