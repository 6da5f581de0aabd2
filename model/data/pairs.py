"""What every data set gives the training: pairs of frames of one clip, as a pure function of the step.

Nothing is drawn from a stream that has to be at the right place: the pairs of step 1,000 are the same whether the run
came from step 0 or was resumed at step 990, with any number of loading processes. Exact resuming rests on this.

Shapes: B batch, C channels, H W height and width.
"""

from typing import NamedTuple, Protocol

from torch import Tensor


class FramePairs(NamedTuple):
    """Two frames of one clip for each element of the batch: RGB, float32 in [0, 1]."""

    source_BCHW: Tensor
    driving_BCHW: Tensor


class PairSource(Protocol):
    """A data set to train on."""

    def batch(self, step: int) -> FramePairs:
        """Return the pairs of a step: equal for equal steps, in every process."""
        ...
