"""In place of the network: an animator whose animation is the driving clip itself, and that does what a test asks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from model.inference.animator import Drawn
from model.networks.keypoints import Keypoints


class CopyingAnimator:
    """Keypoints hold the number of their frame, so that drawing finds it again. For clips that fit into memory.

    `before_batch` is called with each batch: when its keypoints are looked for, and when it is drawn.
    """

    config = SimpleNamespace(name="copying", frame_size=64)
    device = torch.device("cpu")

    def __init__(self, before_batch: Callable[[np.ndarray], None] = lambda _frames_THWC: None) -> None:
        self._before_batch = before_batch
        self._frames: list[np.ndarray] = []

    def prepare(self, source: np.ndarray) -> Any:
        self._frames = []
        return SimpleNamespace(source=source, keypoints=_numbered(range(1)))

    def keypoints(self, frames_THWC: np.ndarray) -> Keypoints:
        self._before_batch(frames_THWC)
        first = len(self._frames)
        self._frames += list(frames_THWC)
        return _numbered(range(first, len(self._frames)))

    ahead = 0

    def start(self, _prepared: Any, driving: Keypoints, _reference: Any, _options: Any) -> Callable[[], Drawn]:
        numbers_T = driving.positions_BK2[:, 0, 0].round().int().tolist()
        frames_THWC = np.stack([self._frames[number] for number in numbers_T])
        self._before_batch(frames_THWC)
        return lambda: Drawn(frames_THWC, None)


def _numbered(numbers: range) -> Keypoints:
    positions_BK2 = torch.tensor([[[float(number), 0.0], [float(number), 1.0]] for number in numbers])
    return Keypoints(positions_BK2, None)
