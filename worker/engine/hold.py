"""Frames of a driving clip that do not show its subject: a cut to something else, a title, a black frame.

Shapes: T frames, H W height and width, C channels, N numbers of a thumbnail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_THUMB_PX = 16
_LEAST_LIKENESS = 0.3
"""Correlation with the most similar frame in which the subject was seen (docs/motion.md has what was measured)."""
_BACK_LIKENESS = 0.6
"""Of the best frame between two cuts: a logo that stays through a cut makes other scenes a little like the subject."""
_BLANK_LEVELS = 2.0
_MOST_LISTED = 12


def thumbnails(frames_THWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbs_TN: grey, of a few pixels, without their mean."""
    time, height, width, channels = frames_THWC.shape
    rows, columns = height // _THUMB_PX, width // _THUMB_PX
    cut_THWC = frames_THWC[:, : rows * _THUMB_PX, : columns * _THUMB_PX]
    # Sums of whole numbers, along rows first: twenty times as fast as means of pixels.
    sums = cut_THWC.reshape(time, _THUMB_PX, rows, -1).sum(2, dtype=np.uint32)
    sums_TN = sums.reshape(time, _THUMB_PX * _THUMB_PX, columns * channels).sum(2, dtype=np.uint32)
    thumbs_TN = sums_TN.astype(np.float32) / (rows * columns * channels)
    return thumbs_TN - thumbs_TN.mean(1, keepdims=True)


def lost_frames(thumbs_TN: NDArray[np.float32], seen_at: Sequence[int]) -> NDArray[np.bool_]:
    """Return lost_T: blank frames, those unlike every frame in which the subject was seen, and what lies between such
    ones without a frame that is much like them.

    Without such frames only blank ones count; when all would be lost, none is.
    """
    contrast_T = thumbs_TN.std(1)
    lost_T = contrast_T < _BLANK_LEVELS
    if seen_at:
        units_TN = thumbs_TN / np.maximum(np.linalg.norm(thumbs_TN, axis=1, keepdims=True), 1e-6)
        likeness_T = (units_TN @ units_TN[list(seen_at)].T).max(1)
        unlike_T = likeness_T < _LEAST_LIKENESS
        stretch_T = unlike_T.cumsum()
        lost_T |= unlike_T | (np.bincount(stretch_T, likeness_T >= _BACK_LIKENESS) == 0)[stretch_T]
    return np.zeros_like(lost_T) if lost_T.all() else lost_T


def held(lost_T: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return sources_T: for each frame the one whose motion it shows, the last that is not lost, or the first."""
    numbers_T = np.where(lost_T, -1, np.arange(len(lost_T)))
    first = int(np.argmin(lost_T))
    return np.maximum(np.maximum.accumulate(numbers_T), first)


def marked(spans: Sequence[tuple[int, int]], frames: int) -> NDArray[np.bool_]:
    """Return marked_T: the frames of these stretches (first and last of each)."""
    marked_T = np.zeros(frames, np.bool_)
    for first, last in spans:
        marked_T[first : last + 1] = True
    return marked_T


def stretches(lost_T: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The lost frames: first and last of each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], lost_T, [False])).astype(np.int8)))
    return tuple((start, end - 1) for start, end in edges.reshape(-1, 2).tolist())


def listed(lost_T: NDArray[np.bool_]) -> str:
    """The lost frames in words: `12, 64–153`."""
    spans = [f"{first}" if first == last else f"{first}–{last}" for first, last in stretches(lost_T)]
    more = len(spans) - _MOST_LISTED
    return ", ".join(spans[:_MOST_LISTED]) + (f" and {more} more places" if more > 0 else "")
