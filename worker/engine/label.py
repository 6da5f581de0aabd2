"""A small label at the lower right corner that says what a picture is: white letters on a dark, see-through plate.

Shapes: H W height and width, C channels, A 1 (the plate's share).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_Font = ImageFont.FreeTypeFont

_LETTERS_SHARE = 0.042
"""The size of the letters, as a share of the picture's shorter side."""
_LETTERS_PX, _SMALLEST_PX = 10, 6
"""Below the first they are hard to read; a text that would not fit across the picture goes down to the second."""
_MARGIN_SHARE, _PADDING_SHARE = 0.6, 0.4
"""Around the plate and inside it, as shares of the letters."""
_PLATE = 0.62
"""How much of the plate is black: white letters on it have a contrast of 6 to 1 even before white (WCAG: 4.5)."""
_FINER = 4
"""The plate's corners are drawn at so many times their size."""
_NO_CHARACTER = "\U0010ffff"


class LabelStyle(NamedTuple):
    """What is written, and how."""

    text: str
    font: str = ""
    """A TrueType or OpenType file; empty: the one that Pillow carries, which has the letters of ASCII."""

    def check(self) -> None:
        """Raise ValueError when the font cannot be read, or lacks a letter of the text."""
        try:
            font = self.at(32)
        except OSError as error:
            raise ValueError(f"the font {self.font} cannot be read: {error}") from error
        unknown = _drawn(font, _NO_CHARACTER)
        missing = sorted({letter for letter in self.text if not letter.isspace() and _drawn(font, letter) == unknown})
        if missing:
            raise ValueError(f"the font {self.font or 'that is built in'} has no {' '.join(missing)}")

    def at(self, size_px: int) -> _Font:
        """The font at a size. Raises OSError."""
        font = ImageFont.truetype(self.font, size_px) if self.font else ImageFont.load_default(size_px)
        assert isinstance(font, _Font), "Pillow has FreeType"
        return font


class Label:
    """The label for pictures of one size: drawn once, laid over each of them."""

    def __init__(self, style: LabelStyle, width: int, height: int) -> None:
        """Raises ValueError as `LabelStyle.check`."""
        self._size = width, height
        self.place, self._share_HWA, self._light_HWC = _drawn_label(style, width, height)

    def __call__(self, frame_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of the frame with the label on it."""
        assert frame_HWC.shape[1::-1] == self._size
        labelled_HWC = frame_HWC.copy()
        behind_HWC = labelled_HWC[self.place].astype(np.uint16)
        labelled_HWC[self.place] = (behind_HWC * (255 - self._share_HWA) + self._light_HWC + 127) // 255
        return labelled_HWC


def _drawn_label(
    style: LabelStyle, width: int, height: int
) -> tuple[tuple[slice, slice], NDArray[np.uint16], NDArray[np.uint16]]:
    """Where it is; how much of the picture it hides, of 255; and its own light, as much as it hides."""
    style.check()
    size_px = max(_LETTERS_PX, round(_LETTERS_SHARE * min(width, height)))
    while True:
        font = style.at(size_px)
        margin, padding = max(1, round(_MARGIN_SHARE * size_px)), max(2, round(_PADDING_SHARE * size_px))
        left, top, right, bottom = font.getbbox(style.text)
        plate_width, plate_height = round(right - left) + 2 * padding, round(bottom - top) + 2 * padding
        if plate_width + 2 * margin <= width or size_px == _SMALLEST_PX:
            break
        size_px -= 1
    plate = Image.new("L", (_FINER * plate_width, _FINER * plate_height))
    box = (0, 0, plate.width - 1, plate.height - 1)
    ImageDraw.Draw(plate).rounded_rectangle(box, radius=_FINER * padding, fill=255)
    plate_HW = np.asarray(plate.reduce(_FINER)).astype(np.float32) / 255 * _PLATE
    letters = Image.new("L", (plate_width, plate_height))
    ImageDraw.Draw(letters).text((padding - left, padding - top), style.text, font=font, fill=255)
    letters_HW = np.asarray(letters).astype(np.float32) / 255
    share_HW = letters_HW + (1 - letters_HW) * plate_HW
    x, y = max(0, width - margin - plate_width), max(0, height - margin - plate_height)
    place = slice(y, min(height, y + plate_height)), slice(x, min(width, x + plate_width))
    inside = slice(0, place[0].stop - y), slice(0, place[1].stop - x)
    share_HWA, light_HWA = (
        np.rint(255 * part_HW[inside]).astype(np.uint16)[..., None] for part_HW in (share_HW, letters_HW)
    )
    return place, share_HWA, 255 * light_HWA


def _drawn(font: _Font, letter: str) -> bytes:
    picture = Image.new("L", (64, 64))
    ImageDraw.Draw(picture).text((16, 16), letter, font=font, fill=255)
    return picture.tobytes()
