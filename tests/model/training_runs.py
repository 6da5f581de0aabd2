"""A tiny run on tiny data, for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.config import (
    DenseMotionConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    KeypointDetectorConfig,
    ModelConfig,
)
from model.data.pairs import FramePairs
from model.training.learner import Learner
from model.training.objective import warp_of_step
from model.training.settings import LossWeights, PerceptualConfig, TrainConfig

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: handing them from thread to thread would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class ShiftedBlobs:
    """A bright blob somewhere, and the same blob somewhere else."""

    def __init__(self, batch_size: int = 4, size: int = 32) -> None:
        self.batch_size, self.size = batch_size, size

    def batch(self, step: int) -> FramePairs:
        generator = torch.Generator().manual_seed(step)
        colours = torch.rand(self.batch_size, 3, 1, 1, generator=generator)
        line = torch.linspace(-1, 1, self.size)

        def draw() -> torch.Tensor:
            x, y = torch.rand(2, self.batch_size, generator=generator) - 0.5
            distances = (line - x[:, None]).square()[:, None, :] + (line - y[:, None]).square()[:, :, None]
            return 0.2 + 0.8 * colours * torch.exp(-distances / 0.1)[:, None]

        return FramePairs(draw(), draw())


class PoisonedBlobs(ShiftedBlobs):
    """The same, but from some step on the frames are not numbers."""

    def __init__(self, first_bad: int) -> None:
        super().__init__()
        self.first_bad = first_bad

    def batch(self, step: int) -> FramePairs:
        source, driving, _ = super().batch(step)
        return FramePairs(source, driving * float("nan")) if step >= self.first_bad else FramePairs(source, driving)


def tiny_model(frame_size: int = 32, **changes: Any) -> ModelConfig:
    model = ModelConfig(
        name="tiny",
        frame_size=frame_size,
        num_keypoints=3,
        keypoint_detector=KeypointDetectorConfig(
            block_expansion=4, num_blocks=2, max_features=8, temperature=0.1, scale_factor=16 / frame_size
        ),
        generator=GeneratorConfig(
            block_expansion=4,
            max_features=8,
            num_down_blocks=1,
            num_bottleneck_blocks=1,
            estimate_occlusion_map=True,
            dense_motion=DenseMotionConfig(
                block_expansion=4, num_blocks=2, max_features=8, scale_factor=16 / frame_size
            ),
        ),
        discriminator=DiscriminatorConfig(
            block_expansion=4, num_blocks=2, max_features=8, scales=(1.0, 0.5), spectral_norm=True, use_keypoints=True
        ),
    )
    return replace(model, **changes)


def tiny_run(**changes: Any) -> TrainConfig:
    """Return a run without a perceptual loss, which would take most of the time."""
    config = TrainConfig(
        name="tiny",
        model=tiny_model(),
        losses=LossWeights(perceptual=(), l1=10.0, feature_matching=(10.0, 10.0)),
        perceptual=PerceptualConfig(backbone="efficientnet-lite0", scales=(1.0,)),
        num_steps=6,
        batch_size=4,
        lr_generator=2e-3,
        lr_keypoint_detector=2e-3,
        log_every=2,
        sample_every=3,
        checkpoint_every=3,
        device="cpu",
    )
    return replace(config, **changes)


def smooth_frames(num_frames: int, size: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(num_frames, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def gradients_of_half(learner: Learner, first: int, last: int) -> dict[str, torch.Tensor]:
    """Return the gradients after one backward pass over some of the pairs of batch 0, batch norms in `eval()`."""
    for module in learner.objective.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    warp = warp_of_step(learner.config, 0, 4, torch.device("cpu"))
    warp = warp._replace(affine_B23=warp.affine_B23[first:last], bumps_BP=warp.bumps_BP[first:last])
    source, driving = (frames[first:last] for frames in ShiftedBlobs().batch(0)[:2])
    learner.distributed(source, driving, warp).terms.total().backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in learner.objective.named_parameters()
        if parameter.grad is not None
    }
