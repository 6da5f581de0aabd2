"""The networks as they were trained, behind the same three calls as `model.inference.optimized`: its reference.

Shapes: B batch, C channels, H W height and width, 1 the one source.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.networks.assembly import Networks
from model.networks.blocks import halve_convolutions
from model.networks.generator import SourceLevels
from model.networks.keypoints import Keypoints


class PlainSource(NamedTuple):
    """What is kept of a source: computed once for a job."""

    keypoints: Keypoints
    levels: SourceLevels
    small_source_1CHW: Tensor


class PlainNetworks:
    """Both networks of a model. Below float32 the generator's convolutions are converted in place."""

    def __init__(self, networks: Networks, dtype: torch.dtype) -> None:
        self._keypoint_detector, self._generator = networks
        if dtype != torch.float32:
            halve_convolutions(self._generator, dtype)

    def detect(self, frames_BCHW: Tensor) -> Keypoints:
        """Return the keypoints of float_BCHW frames in [0, 1]."""
        return self._keypoint_detector(frames_BCHW)

    def prepare(self, source_1CHW: Tensor) -> PlainSource:
        """Compute all that depends on the source alone."""
        small_source_1CHW = self._generator.dense_motion_network.downsample(source_1CHW)
        return PlainSource(self.detect(source_1CHW), self._generator.encode(source_1CHW), small_source_1CHW)

    def draw(self, source: PlainSource, target: Keypoints) -> Tensor:
        """Return frames_BCHW, float32 in [0, 1]: the source moved to each of the keypoints' poses."""
        return self.draw_with_occlusion(source, target)[0]

    def draw_with_occlusion(self, source: PlainSource, target: Keypoints) -> tuple[Tensor, Tensor | None]:
        """Return frames_BCHW as `draw`, and occlusion_B1HW: 1 where the source is visible; None without such a map."""
        motion = self._generator.dense_motion_network(source.small_source_1CHW, source.keypoints, target)
        return self._generator.decode(source.levels, motion), motion.occlusion_B1HW

    def flow(self, source: PlainSource, target: Keypoints) -> Tensor:
        """Return the backward flow_BHW2 of the same frames."""
        return self._generator.dense_motion_network(source.small_source_1CHW, source.keypoints, target).flow_BHW2
