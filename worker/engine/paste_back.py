"""The animated square back in the whole picture, without a visible seam.

Shapes: H W height and width, C channels; S = a side of the square, in pixels of the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worker.pictures import resized
from worker.squares import Square

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEATHER = 0.06
"""Of the square's side: over this distance from its edge the picture turns into the animation."""
_TRUST = 0.25
"""Over this distance what the generator had to invent gives way to what the picture really shows."""


class PasteBack:
    """Puts frames of one square into one picture."""

    def __init__(self, picture_HWC: NDArray[np.uint8], square: Square) -> None:
        height, width = picture_HWC.shape[:2]
        x0, y0, x1, y1 = square.visible(width, height)
        self._place = slice(y0, y1), slice(x0, x1)
        self._part = slice(y0 - square.top, y1 - square.top), slice(x0 - square.left, x1 - square.left)
        self._side = square.side
        self._picture_HWC = picture_HWC
        self._behind_HWC = picture_HWC[self._place].astype(np.float32)
        # Where the square ends with the picture there is nothing to fade into: no feather at that edge.
        edges = square.left > 0, square.top > 0, square.left + square.side < width, square.top + square.side < height
        self._feather_SS = _ramp(square.side, _FEATHER, edges)
        self._trust_SS = _ramp(square.side, _TRUST, edges)

    def __call__(self, frame_HWC: NDArray[np.uint8], occlusion_HW: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        """The picture with this animated square in it.

        `occlusion_HW` is 1 where the frame comes from the source and 0 where it was invented.
        """
        animated_HWC = resized(frame_HWC, self._side, self._side)[self._part].astype(np.float32)
        weight_HW = self._feather_SS[self._part]
        if occlusion_HW is not None:
            levels_HW = np.rint(occlusion_HW.clip(0, 1) * 255).astype(np.uint8)
            visible_HW = resized(levels_HW, self._side, self._side)[self._part].astype(np.float32) / 255
            weight_HW = weight_HW * (visible_HW + (1 - visible_HW) * self._trust_SS[self._part])
        mixed_HWC = self._behind_HWC + weight_HW[..., None] * (animated_HWC - self._behind_HWC)
        whole_HWC = self._picture_HWC.copy()
        whole_HWC[self._place] = np.rint(mixed_HWC).clip(0, 255).astype(np.uint8)
        return whole_HWC


def _ramp(side: int, share: float, edges: tuple[bool, bool, bool, bool]) -> NDArray[np.float32]:
    """From 0 at the edges (left, top, right, bottom) that are given to 1 at `share` of the side from them."""
    width = max(1.0, share * side)
    rising = _smooth((np.arange(side, dtype=np.float64) + 0.5) / width)
    left, top, right, bottom = edges
    flat = np.ones(side, np.float32)
    across = (rising if left else flat) * (rising[::-1] if right else flat)
    down = (rising if top else flat) * (rising[::-1] if bottom else flat)
    return np.outer(down, across).astype(np.float32)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without a kink at either end, where the eye would see one."""
    clipped = values.clip(0, 1)
    return clipped * clipped * (3 - 2 * clipped)
