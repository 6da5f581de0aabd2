"""Where the subject of a picture is: faces by dlib's detector, else what moves, else what stands out.

dlib's frontal detector (HOG and a linear classifier) has its weights in the package and no terms on them; how it
compares with others is in docs/motion.md.

Shapes: T frames, H W height and width, C channels.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from worker.pictures import resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKED_AT_PX = 960
"""The longer side of the picture that is searched: dlib finds faces of 80 pixels and more."""
_SURE = 0.1
"""Of the detector's score. What is found with less, from 0 on, may be a badge or a wheel: it counts only by itself."""
_SMALL_PX = 64
_MOST_THREADS = 4
_DROPPED_SHARE = 0.1
"""Of what moves or stands out, at each side: left out of the box."""


_own = threading.local()
_loading = threading.Lock()


class Box(NamedTuple):
    """A part of a picture in its pixels; the edges lie between pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def side(self) -> float:
        """The longer side."""
        return max(self.right - self.left, self.bottom - self.top)

    @property
    def middle(self) -> tuple[float, float]:
        """The middle, x and y."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def scaled(self, factor: float) -> Box:
        """The same part of a picture that is larger by `factor`."""
        return Box(*(factor * edge for edge in self))


def looked_at_size(width: int, height: int) -> tuple[int, int]:
    """The size at which a picture is searched: small ones enlarged, or their faces would be too small to be found."""
    factor = LOOKED_AT_PX / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def find_faces(picture_HWC: NDArray[np.uint8]) -> list[Box]:
    """The faces of a picture of `looked_at_size`, the largest first. Doubtful ones only where there is no other."""
    found, scores, _ = _detector().run(picture_HWC, 0, 0.0)
    sure = [box for box, score in zip(found, scores, strict=True) if score >= _SURE]
    boxes = [Box(box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in sure or found]
    return sorted(boxes, key=lambda box: box.side, reverse=True)


def find_faces_of_each(pictures: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
    """As `find_faces` of each, several at a time: dlib searches in one thread and lets others run meanwhile."""
    threads = min(len(pictures), _MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads, "faces") as pool:
        return list(pool.map(find_faces, pictures))


def follow_faces(found: Sequence[Sequence[Box]]) -> list[list[Box | None]]:
    """The faces of several frames as one row of boxes for each person, the largest person first.

    A face belongs to the person who was last seen nearest to it, if that is less than its own size away.
    """
    people: list[list[Box | None]] = []
    for time, boxes in enumerate(found):
        free = [person for person in people if len(person) <= time]
        for box in boxes:
            nearest = min(free, key=lambda person: _distance(_last(person), box), default=None)
            if nearest is None or _distance(_last(nearest), box) > max(box.side, _last(nearest).side):
                newcomer: list[Box | None] = [None] * time
                people.append(newcomer)
                nearest = newcomer
            else:
                free.remove(nearest)
            nearest.append(box)
        for person in people:
            person.extend([None] * (time + 1 - len(person)))
    return sorted(people, key=_presence, reverse=True)


def moving_box(frames_THWC: NDArray[np.uint8]) -> Box | None:
    """Where the frames of a clip differ from each other most; None where nothing moves, or everything."""
    grey_THW = np.stack([_grey(frame) for frame in frames_THWC])
    return _box(grey_THW.std(0), *frames_THWC.shape[2:0:-1]) if len(frames_THWC) > 1 else None


def salient_box(picture_HWC: NDArray[np.uint8]) -> Box | None:
    """What stands out of a picture: the residual of its log spectrum (Hou and Zhang, CVPR 2007)."""
    spectrum_HW = np.fft.fft2(_grey(picture_HWC))
    log_HW = np.log(np.abs(spectrum_HW) + 1e-6)
    residual_HW = log_HW - _blurred(log_HW)
    salience_HW = np.abs(np.fft.ifft2(np.exp(residual_HW + 1j * np.angle(spectrum_HW)))) ** 2
    return _box(_blurred(_blurred(salience_HW)), *picture_HWC.shape[1::-1])


@cache
def _first_detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()  # pyright: ignore[reportAttributeAccessIssue]


def _detector() -> Any:
    """The detector of this thread, as it keeps what it makes of a picture. (A new one takes 500 ms, a copy 2.)"""
    if not hasattr(_own, "detector"):
        with _loading:
            _own.detector = deepcopy(_first_detector())
    return _own.detector


def _last(person: Sequence[Box | None]) -> Box:
    return next(box for box in reversed(person) if box is not None)


def _distance(first: Box, second: Box) -> float:
    return float(np.hypot(*np.subtract(first.middle, second.middle)))


def _presence(person: Sequence[Box | None]) -> float:
    """How large a person is over the whole clip: being there counts as much as being near."""
    return sum(box.side for box in person if box is not None)


def _grey(frame_HWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    return resized(frame_HWC, _SMALL_PX, _SMALL_PX).mean(-1)


def _blurred(values_HW: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each place and its eight neighbours."""
    height, width = values_HW.shape
    padded_HW = np.pad(values_HW, 1, mode="edge")
    return np.mean([padded_HW[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


def _box(weights_HW: NDArray[np.float64], width: int, height: int) -> Box | None:
    """The part of a picture that holds most of the weight above its median."""
    weights_HW = np.clip(weights_HW - np.median(weights_HW), 0, None) ** 2
    if not weights_HW.sum() > 1e-9:
        return None
    left, right = _bounds(weights_HW.sum(0))
    top, bottom = _bounds(weights_HW.sum(1))
    return Box(left * width, top * height, right * width, bottom * height)


def _bounds(weights_N: NDArray[np.float64]) -> tuple[float, float]:
    """Between which shares of the whole length all but the outermost weight lies."""
    reached_N = np.cumsum(weights_N) / weights_N.sum()
    first, last = np.searchsorted(reached_N, (_DROPPED_SHARE, 1 - _DROPPED_SHARE))
    return float(first) / len(weights_N), float(last + 1) / len(weights_N)
