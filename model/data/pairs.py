"""What every data set gives the training: pairs of frames of one clip, as a pure function of the step.

Nothing is drawn from a stream that has to be at the right place: the pairs of step 1,000 are the same whether the run
came from step 0 or was resumed at step 990, with any number of loading processes. Exact resuming rests on this.

Shapes: B batch, C channels, H W height and width.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class FramePairs(NamedTuple):
    """Two frames of one clip for each element of the batch: RGB, float32 in [0, 1].

    `truth_BCHW` is the source as it should look, moved like the driver. Of one clip that is the driving frame, and
    nothing else is given; drawn avatars can also be driven by another one.
    """

    source_BCHW: Tensor
    driving_BCHW: Tensor
    truth_BCHW: Tensor | None = None

    def to(self, device: torch.device) -> "FramePairs":
        """Return the same pairs on a device."""
        truth_BCHW = None if self.truth_BCHW is None else sent(self.truth_BCHW, device)
        return FramePairs(sent(self.source_BCHW, device), sent(self.driving_BCHW, device), truth_BCHW)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device without waiting for what that is doing: a plain copy to a GPU would."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


class PairSource(Protocol):
    """A data set to train on."""

    def batch(self, step: int) -> FramePairs:
        """Return the pairs of a step: equal for equal steps, in every process."""
        ...
