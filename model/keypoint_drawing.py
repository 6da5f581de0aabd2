"""Keypoints in pictures: a colour for each, the same in every picture that shows them.

Shapes: K keypoints, 2 = (x, y), 22 = 2x2.
"""

import colorsys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_AXIS_SHARE = 0.08
"""Of the picture's side: how long the axes of a Jacobian of the usual size are."""


def keypoint_colours(num_keypoints: int) -> Tensor:
    """Return colours_K3, as unlike each other as their number allows."""
    return torch.tensor([colorsys.hsv_to_rgb(index / num_keypoints, 1.0, 1.0) for index in range(num_keypoints)])


def draw_keypoints(draw: "ImageDraw", positions_K2: Tensor, left: int, top: int, side: int) -> None:
    """Dot the square tile of `side` pixels at (left, top) with the keypoints of the frame in it."""
    radius = max(2, side // 50)
    for x, y, colour in _places(positions_K2, left, top, side):
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=colour, outline="black")


def draw_axes(
    draw: "ImageDraw", positions_K2: Tensor, jacobians_K22: Tensor, usual_size: float, left: int, top: int, side: int
) -> None:
    """Draw where each Jacobian takes the x axis (a line in the keypoint's colour) and the y axis (a white one).

    `usual_size` is the length of a column that is drawn at the usual length: Jacobians have no size of their own,
    only what changes in them means something.
    """
    length = _AXIS_SHARE * side / usual_size
    line = max(1, side // 128)
    ends_K22 = jacobians_K22.cpu().mul(length).tolist()
    for (x, y, colour), ((xx, xy), (yx, yy)) in zip(_places(positions_K2, left, top, side), ends_K22, strict=True):
        for (dx, dy), shown in (((xx, yx), colour), ((xy, yy), (255, 255, 255))):
            draw.line((x, y, x + dx, y + dy), fill="black", width=line + 2)
            draw.line((x, y, x + dx, y + dy), fill=shown, width=line)


def _places(positions_K2: Tensor, left: int, top: int, side: int) -> list[tuple[float, float, tuple[int, int, int]]]:
    """Where each keypoint is in the picture, and its colour."""
    colours = keypoint_colours(len(positions_K2)).mul(255).round().int().tolist()
    places = positions_K2.cpu().add(1).mul((side - 1) / 2).tolist()
    return [(left + x, top + y, tuple(colour)) for (x, y), colour in zip(places, colours, strict=True)]
