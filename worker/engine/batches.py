"""Batches through the network, in halves when memory is short: no frame is lost, and none is shown twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from worker import logs
from worker.engine.device_faults import free_memory, is_out_of_memory

Result = TypeVar("Result")

log = logs.get_logger(__name__)


class InParts(Generic[Result]):
    """Runs work on batches; one that does not fit into memory is done in halves, and so are all after it."""

    def __init__(self) -> None:
        self._at_once: int | None = None

    def run(self, frames: int, work: Callable[[slice], Result]) -> Iterator[Result]:
        """The results of `work` on the parts of a batch of `frames` frames, in order.

        What is done already stays. Raises the error of torch when not even a single frame fits.
        """
        done = 0
        while done < frames:
            end = min(frames, done + (self._at_once or frames))
            result = _try(work, slice(done, end))
            if result is None:
                self._at_once = (end - done) // 2
                log.warning("batch_halved", frames=self._at_once)
                free_memory()
                continue
            yield result
            done = end


def _try(work: Callable[[slice], Result], part: slice) -> Result | None:
    """The result; None when there is no memory for so much. (On return the error's traceback holds no tensor.)"""
    try:
        return work(part)
    except Exception as error:
        if part.stop - part.start == 1 or not is_out_of_memory(error):
            raise
        return None
