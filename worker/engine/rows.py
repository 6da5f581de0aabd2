"""Numbers of each frame of a clip, gathered batch by batch in one block of memory."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Rows:
    """float32 numbers, as many for each frame.

    Not a list of small arrays: each of them, made between large ones that come and go, takes a little of the place of
    a large one, which is then too small for the next of its size. The heap grew by 0.8 MB a frame.
    """

    def __init__(self) -> None:
        self._numbers = array("f")
        self._shape: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was added."""
        return bool(self._numbers)

    def add(self, rows_TN: NDArray[np.float32]) -> None:
        """Append what belongs to the next T frames; more than one axis may follow the first."""
        self._shape = rows_TN.shape[1:]
        self._numbers.frombytes(np.ascontiguousarray(rows_TN, np.float32).data.cast("B"))

    def all(self) -> NDArray[np.float32]:
        """Return what was added, over all frames, as it lies in memory: nothing can be added any more."""
        return np.frombuffer(self._numbers, np.float32).reshape(-1, *self._shape)
