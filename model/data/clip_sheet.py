"""The contact sheet of a data set: a cell for each clip with its frames, its name, and in red what is wrong with it."""

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_STRIP_WIDTH, _STRIP_HEIGHT = 288, 96
_LINE = 14
_MARGIN = 6
_COLUMNS = 4
_TEXT_SIZE = 11
_BACKGROUND, _TEXT, _PROBLEM, _ABSENT = "#ffffff", "#202020", "#d00000", "#e4e4e4"


class SheetEntry(NamedTuple):
    """A clip on the sheet."""

    name: str
    jpeg: bytes
    """Three frames side by side; empty if there are none."""
    num_frames: int
    problems: tuple[str, ...]


def draw_sheet(entries: Sequence[SheetEntry], *, left_out: int = 0) -> Image.Image:
    """Draw the cells row by row."""
    font = ImageFont.load_default(_TEXT_SIZE)
    columns = max(1, min(_COLUMNS, len(entries)))
    width, height = _STRIP_WIDTH + 2 * _MARGIN, _STRIP_HEIGHT + 2 * _LINE + 2 * _MARGIN
    rows = -(-len(entries) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height + (2 * _LINE if left_out else 0)), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for number, entry in enumerate(entries):
        left, top = number % columns * width + _MARGIN, number // columns * height + _MARGIN
        if entry.jpeg:
            sheet.paste(Image.open(io.BytesIO(entry.jpeg), formats=("JPEG",)), (left, top))
        else:
            pen.rectangle((left, top, left + _STRIP_WIDTH - 1, top + _STRIP_HEIGHT - 1), fill=_ABSENT)
        below = top + _STRIP_HEIGHT
        count = f"  {entry.num_frames}"
        name = _shorten(entry.name, font, _STRIP_WIDTH - font.getlength(count))
        pen.text((left, below + 1), name + count, _TEXT, font)
        if entry.problems:
            frame = (left - 3, top - 3, left + _STRIP_WIDTH + 2, below + 2 * _LINE + 2)
            pen.rectangle(frame, outline=_PROBLEM, width=2)
            problems = _shorten(", ".join(entry.problems), font, _STRIP_WIDTH)
            pen.text((left, below + 1 + _LINE), problems, _PROBLEM, font)
    if left_out:
        pen.text((_MARGIN, rows * height), f"and {left_out} more clips", _TEXT, font)
    return sheet


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Cut the middle out of what is too long: both ends of a clip's name tell clips apart."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 4 and font.getlength(text[: kept // 2] + "…" + text[-(kept // 2) :]) > width:
        kept -= 2
    return text[: kept // 2] + "…" + text[-(kept // 2) :]
