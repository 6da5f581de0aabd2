"""An exponential moving average of the weights: smoother than the last step's, and what is exported."""

import copy

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model.networks.assembly import Networks


class MovingAverage:
    """Copies of both networks, in `eval()`, that follow the learning ones slowly."""

    def __init__(self, networks: Networks, decay: float) -> None:
        self.networks = copy.deepcopy(networks)
        for network in self.networks:
            network.eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, networks: Networks, step: int) -> None:
        """Move a little towards the learning networks; further at the beginning, when the average is of nothing yet."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.networks, networks, strict=True):
            # All weights at once: on a GPU hundreds of small operations cost more than what they compute.
            get_ema_multi_avg_fn(1 - share)(list(mine.parameters()), list(theirs.parameters()), step)
            for my_buffer, their_buffer in zip(mine.buffers(), theirs.buffers(), strict=True):
                my_buffer.copy_(their_buffer)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the averaged weights under the sections of a checkpoint."""
        return {
            "kp_detector": self.networks.keypoint_detector.state_dict(),
            "generator": self.networks.generator.state_dict(),
        }

    def restore(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Put back what `state` returned."""
        self.networks.keypoint_detector.load_state_dict(state["kp_detector"])
        self.networks.generator.load_state_dict(state["generator"])
