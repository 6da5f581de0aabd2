"""A bar for each parameter of the pose: how much of it the keypoints tell."""

from typing import TYPE_CHECKING

from model.evaluation.tracking import Tracking

if TYPE_CHECKING:
    from PIL.Image import Image

_LABEL_PX, _VALUE_PX, _BAR_PX, _ROW_PX, _HEADER_PX = 150, 40, 9, 35, 24
_COLOURS = ("lightsteelblue", "steelblue", "darkorange")


def has_bars(tracking: Tracking) -> bool:
    """Return whether anything could be measured: few identities tell nothing."""
    return any(value is not None for value in tracking.from_positions.values())


def draw_chart(tracking: Tracking, width_px: int) -> "Image":
    """Draw R² from 0 to 1: of positions, with Jacobians, of changes; below 0 there is only the number."""
    from PIL import Image, ImageDraw

    series = [tracking.from_positions, tracking.from_positions_and_jacobians, tracking.changes_from_positions]
    names = list(tracking.from_positions)
    picture = Image.new("RGB", (width_px, _HEADER_PX + len(names) * _ROW_PX + 4), "white")
    draw = ImageDraw.Draw(picture)
    title = "Pose told by a linear map of the keypoints (R squared, other identities): light: positions"
    title += "; dark: positions and Jacobians" if series[1] else ""
    draw.text((3, 6), title + "; orange: changes within an identity", fill="black")
    length_px = width_px - _LABEL_PX - _VALUE_PX
    for row, name in enumerate(names):
        top = _HEADER_PX + row * _ROW_PX
        draw.text((3, top + 4), name, fill="black")
        for values, colour, offset in zip(series, _COLOURS, (2, 2 + _BAR_PX, 2 + 2 * _BAR_PX), strict=True):
            value = values[name] if values else None
            if value is None:
                continue
            end = _LABEL_PX + length_px * min(1.0, max(0.0, value))
            draw.rectangle((_LABEL_PX, top + offset, end, top + offset + _BAR_PX - 1), fill=colour)
            draw.text((end + 4, top + offset - 2), f"{value:.2f}", fill="black")
    for share in (0.0, 0.5, 1.0):
        x = _LABEL_PX + length_px * share
        draw.line((x, _HEADER_PX, x, picture.height - 4), fill="silver")
    return picture
