"""Batches of frames through the network, in halves when memory is short: no frame is lost, and none is shown twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from worker import logs
from worker.engine.device_faults import free_memory, is_out_of_memory

if TYPE_CHECKING:
    import numpy as np

    from model.config import MotionTransferOptions
    from model.inference.animator import Animator, PreparedSource

log = logs.get_logger(__name__)


def draw(
    animator: Animator,
    prepared: PreparedSource,
    driving_batches: Iterable[np.ndarray],
    motion: MotionTransferOptions,
) -> Iterator[np.ndarray]:
    """`animator.animate`, but a batch that does not fit into memory is drawn in halves, and so are all after it.

    What is drawn already stays. Raises the error of torch when not even a single frame fits.
    """
    at_once: int | None = None
    line = _Line(animator, prepared, motion)
    for batch_THWC in driving_batches:
        done = 0
        while done < len(batch_THWC):
            part_THWC = batch_THWC[done : done + (at_once or len(batch_THWC))]
            drawn_THWC = _try(line, part_THWC)
            if drawn_THWC is None:
                at_once = len(part_THWC) // 2
                log.warning("batch_halved", frames=at_once)
                line.restart()
                free_memory()
                continue
            yield drawn_THWC
            done += len(part_THWC)


def _try(line: _Line, part_THWC: np.ndarray) -> np.ndarray | None:
    """The frames; None when there is no memory for so many. (On return the error's traceback holds no tensor.)"""
    try:
        return line.draw(part_THWC)
    except Exception as error:
        if len(part_THWC) == 1 or not is_out_of_memory(error):
            raise
        return None


class _Line:
    """One run of `animator.animate` that is fed a batch at a time, and can be begun again."""

    def __init__(self, animator: Animator, prepared: PreparedSource, motion: MotionTransferOptions) -> None:
        self._animator, self._prepared, self._motion = animator, prepared, motion
        self._first_1HWC: np.ndarray | None = None
        self.restart()

    def restart(self) -> None:
        """Begin again after an error, which has ended the run."""
        self._waiting: deque[np.ndarray] = deque()
        self._stream = self._animator.animate(self._prepared, self._feed(), self._motion)
        self._is_new = True

    def draw(self, driving_THWC: np.ndarray) -> np.ndarray:
        """The frames for one batch."""
        if self._first_1HWC is None:
            self._first_1HWC = driving_THWC[:1].copy()
        elif self._is_new:
            # Relative motion is measured from the first frame of the clip: it is looked at again, not shown again.
            self._waiting.append(self._first_1HWC)
            next(self._stream)
        self._is_new = False
        self._waiting.append(driving_THWC)
        return next(self._stream)

    def _feed(self) -> Iterator[np.ndarray]:
        while True:
            yield self._waiting.popleft()
