"""What is measured: sources, the frames they are animated with, and the frames that should come out.

Shapes: T driving frames, H W height and width, C channels. All frames are RGB uint8 of the model's size.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Part = Literal["reconstruction", "cross-identity, relative", "cross-identity, absolute"]


class Case(NamedTuple):
    """One source, moved by the frames of one clip in one mode."""

    part: Part
    name: str
    source_HWC: NDArray[np.uint8]
    reference_HWC: NDArray[np.uint8] | None
    """The driver's frame that relative motion is measured from; None means absolute motion."""
    driving_THWC: NDArray[np.uint8]
    truth_THWC: NDArray[np.uint8]


class CaseSet(Protocol):
    """A data set as cases: the same at every call, made when they are asked for."""

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Return what was chosen and how, for the report: plain JSON."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what was left out, in sentences."""
        ...

    def __len__(self) -> int:
        """Return the number of clips or avatars."""
        ...

    def __getitem__(self, index: int) -> tuple[Case, ...]:
        """Return the cases of one clip or avatar."""
        ...
