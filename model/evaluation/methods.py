"""What is measured against the truth: networks, and what they must be better than.

Shapes: T frames, H W height and width, C channels.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import MotionTransferOptions
from model.evaluation.cases import Case
from model.inference.animator import Animator

COPY = "copy of the source"
BATCH_FRAMES = 8


class Method(NamedTuple):
    """A way to animate; `animate` returns uint8_THWC, one frame for each driving frame of the case."""

    name: str
    animate: Callable[[Case], NDArray[np.uint8]]


def copying() -> Method:
    """Return the baseline that does nothing: each frame is the source."""
    return Method(COPY, lambda case: np.broadcast_to(case.source_HWC, case.driving_THWC.shape))


def network(name: str, animator: Animator) -> Method:
    """Return a network, run as serving runs it."""
    return Method(name, lambda case: animate(animator, case))


def animate(animator: Animator, case: Case) -> NDArray[np.uint8]:
    """Animate a case. Scale is never adapted: the truth does not adapt it."""
    options = MotionTransferOptions(relative=case.reference_HWC is not None, relative_jacobian=True, adapt_scale=False)
    batches = list(animator.animate(animator.prepare(case.source_HWC), _driving(case), options))
    return np.concatenate(batches)[0 if case.reference_HWC is None else 1 :]


def _driving(case: Case) -> Iterator[NDArray[np.uint8]]:
    if case.reference_HWC is not None:
        yield case.reference_HWC[None]
    for start in range(0, len(case.driving_THWC), BATCH_FRAMES):
        yield case.driving_THWC[start : start + BATCH_FRAMES]
