"""The pictures of the views: flow as colours, occlusion as grey, frames side by side.

Shapes: H W height and width, C channels, 2 = (x, y).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from worker.pictures import resized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GAP_PX = 4
_WHITE = 255
_BEYOND = 0.75
"""How bright is what moves farther than the scale goes."""
_HUES = (
    # From one hue to the next, in as many steps as the eye tells apart there: the wheel of the Middlebury flow
    # benchmark (Baker et al. 2007), that flow is usually shown with.
    (15, (1, 0, 0), (1, 1, 0)),
    (6, (1, 1, 0), (0, 1, 0)),
    (4, (0, 1, 0), (0, 1, 1)),
    (11, (0, 1, 1), (0, 0, 1)),
    (13, (0, 0, 1), (1, 0, 1)),
    (6, (1, 0, 1), (1, 0, 0)),
)
_WHEEL_SHARE = 0.16


def flow_colours(shift_HW2: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """Return colours_HWC of a field of movements: the hue is the direction, white is rest, full colour is `scale`.

    To the right is red, down is yellow to green, left cyan, up blue to violet; beyond `scale` it is darker.
    """
    wheel_N3 = _wheel()
    x_HW, y_HW = shift_HW2[..., 0] / scale, shift_HW2[..., 1] / scale
    radius_HW = np.hypot(x_HW, y_HW)
    place_HW = np.mod(np.arctan2(y_HW, x_HW) / (2 * np.pi), 1.0) * len(wheel_N3)
    low_HW = place_HW.astype(np.intp) % len(wheel_N3)
    part_HW1 = (place_HW - np.floor(place_HW))[..., None]
    hue_HWC = (1 - part_HW1) * wheel_N3[low_HW] + part_HW1 * wheel_N3[(low_HW + 1) % len(wheel_N3)]
    inside_HW1 = np.minimum(radius_HW, 1)[..., None]
    colours_HWC = 1 - inside_HW1 * (1 - hue_HWC)
    colours_HWC *= np.where(radius_HW > 1, _BEYOND, 1.0)[..., None]
    return np.rint(colours_HWC * 255).astype(np.uint8)


def flow_picture(flow_HW2: NDArray[np.float32], side: int, scale: float) -> NDArray[np.uint8]:
    """Return picture_HWC of a backward flow, with the wheel in its lower left corner.

    What is shown at a pixel is how far its content has come, in coordinates: its place minus where it is read from.
    """
    height, width = flow_HW2.shape[:2]
    x_W, y_H = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    shift_HW2 = np.stack(np.meshgrid(x_W, y_H), axis=-1) - flow_HW2
    planes = [
        np.asarray(Image.fromarray(plane_HW).resize((side, side), Image.Resampling.BILINEAR))
        for plane_HW in (np.ascontiguousarray(shift_HW2[..., axis]) for axis in (0, 1))
    ]
    picture_HWC = flow_colours(np.stack(planes, axis=-1), scale)
    legend_HWC, inside_HW = _legend(round(_WHEEL_SHARE * side))
    corner_HWC = picture_HWC[-len(legend_HWC) - GAP_PX : -GAP_PX, GAP_PX : GAP_PX + len(legend_HWC)]
    corner_HWC[inside_HW] = legend_HWC[inside_HW]
    return picture_HWC


def occlusion_picture(occlusion_HW: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Return picture_HWC: white where the source is seen, black where the generator had to invent."""
    levels_HW = np.rint(occlusion_HW.clip(0, 1) * 255).astype(np.uint8)
    grey_HW = np.asarray(Image.fromarray(levels_HW).resize((side, side), Image.Resampling.BILINEAR))
    return np.repeat(grey_HW[..., None], 3, axis=-1)


def fitted(picture_HWC: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """The picture at this height; one of more than twice that width gets white above and below instead."""
    own_height, own_width = picture_HWC.shape[:2]
    width, own_part = fitted_size(own_width, own_height, height)
    if (own_width, own_height) == (width, height):
        return picture_HWC
    small_HWC = resized(picture_HWC, width, own_part)
    above = (height - own_part) // 2
    return np.pad(small_HWC, ((above, height - own_part - above), (0, 0), (0, 0)), constant_values=_WHITE)


def fitted_size(own_width: int, own_height: int, height: int) -> tuple[int, int]:
    """The width of a picture fitted to `height`, and how much of the height is its own."""
    scale = min(height / own_height, 2 * height / own_width)
    return max(1, round(own_width * scale)), max(1, round(own_height * scale))


def beside(pictures_HWC: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one height in a row, with a white gap between them."""
    gap_HWC = np.full((len(pictures_HWC[0]), GAP_PX, 3), _WHITE, np.uint8)
    row = [part for picture_HWC in pictures_HWC for part in (gap_HWC, picture_HWC)]
    return np.concatenate(row[1:], axis=1)


@cache
def _wheel() -> NDArray[np.float32]:
    """The hues around the circle, from right over down (pictures count downwards)."""
    stretches = [np.linspace(start, end, steps, endpoint=False) for steps, start, end in _HUES]
    return np.concatenate(stretches).astype(np.float32)


@cache
def _legend(size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The wheel itself, and which of its pixels are inside the circle."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    shift_HW2 = np.stack(np.meshgrid(line, line), axis=-1)
    radius_HW = np.hypot(shift_HW2[..., 0], shift_HW2[..., 1])
    wheel_HWC = flow_colours(shift_HW2, 1.0)
    wheel_HWC[radius_HW > 0.93] = 0  # a rim
    return wheel_HWC, radius_HW <= 1
