"""The two networks that together are one model."""

from typing import NamedTuple

from model.config import ModelConfig
from model.networks.generator import Generator
from model.networks.keypoint_detector import KeypointDetector


class Networks(NamedTuple):
    """What serving runs. The discriminator belongs to training."""

    keypoint_detector: KeypointDetector
    generator: Generator

    @property
    def num_parameters(self) -> int:
        """Return the number of trainable numbers in both networks."""
        return sum(parameter.numel() for network in self for parameter in network.parameters())


def assemble(config: ModelConfig) -> Networks:
    """Build both networks on the current default device, in `eval()`, with fresh weights."""
    return Networks(KeypointDetector(config).eval(), Generator(config).eval())
