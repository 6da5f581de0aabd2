"""Keypoints in pictures: a colour for each, the same in every picture that shows them.

Shapes: K keypoints, 2 = (x, y).
"""

import colorsys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw


def keypoint_colours(num_keypoints: int) -> Tensor:
    """Return colours_K3, as unlike each other as their number allows."""
    return torch.tensor([colorsys.hsv_to_rgb(index / num_keypoints, 1.0, 1.0) for index in range(num_keypoints)])


def draw_keypoints(draw: "ImageDraw", positions_K2: Tensor, left: int, top: int, side: int) -> None:
    """Dot the square tile of `side` pixels at (left, top) with the keypoints of the frame in it."""
    colours = keypoint_colours(len(positions_K2)).mul(255).round().int().tolist()
    places = positions_K2.cpu().add(1).mul((side - 1) / 2).tolist()
    radius = max(2, side // 50)
    for (x, y), colour in zip(places, colours, strict=True):
        box = (left + x - radius, top + y - radius, left + x + radius, top + y + radius)
        draw.ellipse(box, fill=tuple(colour), outline="black")
