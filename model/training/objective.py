"""What one step computes: from a pair of frames to the loss terms. One module, so that it can run on several devices.

    source ──┐                       ┌─ warp ─► equivariance_value, equivariance_jacobian
    driving ─┴─► KeypointDetector ───┤
                                     └─► DenseMotionNetwork ─► Generator ─► perceptual, l1 (and the adversary's terms)

The three sets of frames (source, driving, warped driving) go through the keypoint detector as one batch: its batch
norms then see them together, and large batches are cheaper. (The published implementation makes three calls.)

Shapes: B batch, C channels, H W height and width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.data.pairs import sent
from model.networks.assembly import Networks, assemble
from model.networks.dense_motion import DenseMotion
from model.networks.keypoints import Keypoints
from model.training import losses
from model.training.discriminator import Discriminator
from model.training.equivariance import ThinPlateWarp, random_warp, warp_frames
from model.training.perceptual import PerceptualLoss, Pyramid
from model.training.settings import TrainConfig


class LossTerms(NamedTuple):
    """The terms, each times its weight: their sum is what is minimised. `None`: not computed in this run."""

    perceptual: Tensor | None = None
    equivariance_value: Tensor | None = None
    equivariance_jacobian: Tensor | None = None
    keypoint_prior: Tensor | None = None
    l1: Tensor | None = None
    l1_to_copy: Tensor | None = None
    generator_gan: Tensor | None = None
    feature_matching: Tensor | None = None
    discriminator_gan: Tensor | None = None
    """Minimised by the discriminator alone; not in `total`."""

    def total(self) -> Tensor:
        """Return the loss of keypoint detector and generator."""
        mine = [term for name, term in zip(self._fields, self, strict=True) if name != "discriminator_gan"]
        return torch.stack([term for term in mine if term is not None]).sum()


class Drawing(NamedTuple):
    """What a forward pass found and drew."""

    terms: LossTerms
    prediction_BCHW: Tensor
    source: Keypoints
    driving: Keypoints
    motion: DenseMotion


class Objective(nn.Module):
    """The networks that learn, and all of the loss that needs no discriminator."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        networks = assemble(config.model)
        self.config = config
        self.keypoint_detector = networks.keypoint_detector
        self.generator = networks.generator
        self.perceptual: PerceptualLoss | None = None
        if any(config.losses.perceptual):
            self.perceptual = PerceptualLoss(config.perceptual, config.losses.perceptual, config.model.frame_size)
        if not config.trains_keypoints:
            self.keypoint_detector.requires_grad_(False)
        self.train()

    @property
    def networks(self) -> Networks:
        """Return the two networks that a bundle has."""
        return Networks(self.keypoint_detector, self.generator)

    def train(self, mode: bool = True) -> "Objective":
        """Switch to training; a frozen keypoint detector keeps its stored statistics."""
        super().train(mode)
        if not self.config.trains_keypoints:
            self.keypoint_detector.eval()
        return self

    def forward(
        self,
        source_BCHW: Tensor,
        driving_BCHW: Tensor,
        by: ThinPlateWarp,
        dropped_BK: Tensor | None = None,
        truth_BCHW: Tensor | None = None,
    ) -> Drawing:
        """Draw the driving frame from the source, and measure how well that went.

        `by` warps the driving frame; motions of `dropped_BK` may not be used. `truth_BCHW` is what should be drawn
        where that is not the driving frame.
        """
        truth_BCHW = driving_BCHW if truth_BCHW is None else truth_BCHW
        terms = LossTerms()
        source, driving, in_warped = self._detect(source_BCHW, driving_BCHW, by)
        weights = self.config.losses
        if in_warped is not None:
            if weights.equivariance_value:
                value = losses.equivariance_value(driving, in_warped, by)
                terms = terms._replace(equivariance_value=weights.equivariance_value * value)
            if weights.equivariance_jacobian and driving.jacobians_BK22 is not None:
                value = losses.equivariance_jacobian(driving, in_warped, by)
                terms = terms._replace(equivariance_jacobian=weights.equivariance_jacobian * value)

        if weights.keypoint_prior and self.config.trains_keypoints:
            value = losses.keypoint_prior(driving, self.config.keypoint_distance)
            terms = terms._replace(keypoint_prior=weights.keypoint_prior * value)

        with self.half_precision(source_BCHW.device):
            levels = self.generator.encode(source_BCHW)
            dense_motion = self.generator.dense_motion_network
            motion = dense_motion(dense_motion.downsample(source_BCHW), source, driving, dropped_BK=dropped_BK)
            prediction_BCHW = self.generator.decode(levels, motion)
            if self.perceptual is not None:
                terms = terms._replace(perceptual=self.perceptual(prediction_BCHW, truth_BCHW))
        if weights.l1:
            terms = terms._replace(l1=weights.l1 * losses.l1(prediction_BCHW, truth_BCHW))
        if weights.l1_to_copy:
            value = losses.l1_to_copy(prediction_BCHW, truth_BCHW, source_BCHW)
            terms = terms._replace(l1_to_copy=weights.l1_to_copy * value)
        return Drawing(terms, prediction_BCHW, source, driving, motion)

    def half_precision(self, device: torch.device) -> torch.autocast:
        """Return the context in which convolutions may run in bfloat16; the keypoint detector has its own."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _detect(
        self, source_BCHW: Tensor, driving_BCHW: Tensor, by: ThinPlateWarp
    ) -> tuple[Keypoints, Keypoints, Keypoints | None]:
        weights = self.config.losses
        frames = [source_BCHW, driving_BCHW]
        if self.config.trains_keypoints and (weights.equivariance_value or weights.equivariance_jacobian):
            frames.append(warp_frames(driving_BCHW, by, align_corners=self.config.model.align_corners))
        half = self.config.keypoint_precision == "bf16"
        with torch.autocast(source_BCHW.device.type, torch.bfloat16, enabled=half):
            found = self.keypoint_detector(torch.cat(frames))
        source, driving, *rest = split_keypoints(found, len(frames))
        return source, driving, rest[0] if rest else None


class Adversary(nn.Module):
    """The discriminator and the pyramid it looks at: a step of its own."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        assert config.model.discriminator is not None
        self.discriminator = Discriminator(config.model)
        self.pyramid = Pyramid(config.model.discriminator.scales, config.model.num_channels)
        self.weights = config.losses

    def forward(self, real_BCHW: Tensor, drawn_BCHW: Tensor, keypoints: Keypoints) -> Tensor:
        """Return discriminator_gan, times its weight. No gradient reaches whoever drew the frames."""
        keypoints = detached(keypoints)
        of_real = self.discriminator(self.pyramid(real_BCHW), keypoints)
        of_drawn = self.discriminator(self.pyramid(drawn_BCHW.detach()), keypoints)
        return self.weights.discriminator_gan * losses.discriminator_gan(of_real, of_drawn)

    def teach(self, real_BCHW: Tensor, drawn_BCHW: Tensor, keypoints: Keypoints) -> LossTerms:
        """Return generator_gan and feature_matching for whoever drew the frames; the discriminator does not learn."""
        self.discriminator.requires_grad_(False)
        keypoints = detached(keypoints)
        of_drawn = self.discriminator(self.pyramid(drawn_BCHW), keypoints)
        terms = LossTerms(generator_gan=self.weights.generator_gan * losses.generator_gan(of_drawn))
        if any(self.weights.feature_matching):
            with torch.no_grad():
                of_real = self.discriminator(self.pyramid(real_BCHW), keypoints)
            value = losses.feature_matching(of_real, of_drawn, self.weights.feature_matching)
            terms = terms._replace(feature_matching=value)
        self.discriminator.requires_grad_(True)
        return terms


def warp_of_step(config: TrainConfig, step: int, num_frames: int, device: torch.device) -> ThinPlateWarp:
    """Draw the warp of a step: a function of seed and step, so that a resumed run draws the same."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    warp = random_warp(
        num_frames,
        sigma_affine=config.warp.sigma_affine,
        sigma_bumps=config.warp.sigma_bumps,
        points_per_side=config.warp.points_per_side,
        generator=generator,
    )
    return ThinPlateWarp(*(sent(value, device) for value in warp))


def dropped_of_step(config: TrainConfig, step: int, num_frames: int, device: torch.device) -> Tensor | None:
    """Draw dropped_BK, the keypoints whose motions may not be used in a step: a function of seed and step."""
    if not config.keypoint_dropout:
        return None
    # Far from the seeds of the warps.
    generator = torch.Generator().manual_seed(-1 - config.seed * 1_000_003 - step)
    chances_BK = torch.rand(num_frames, config.model.num_keypoints, generator=generator)
    return sent(chances_BK < config.keypoint_dropout, device)


def split_keypoints(keypoints: Keypoints, num_parts: int) -> list[Keypoints]:
    """Cut a batch of keypoints into equal parts."""
    positions = keypoints.positions_BK2.chunk(num_parts)
    if keypoints.jacobians_BK22 is None:
        return [Keypoints(part, None) for part in positions]
    return [Keypoints(*part) for part in zip(positions, keypoints.jacobians_BK22.chunk(num_parts), strict=True)]


def detached(keypoints: Keypoints) -> Keypoints:
    """Return the same keypoints without their history."""
    jacobians = keypoints.jacobians_BK22
    return Keypoints(keypoints.positions_BK2.detach(), None if jacobians is None else jacobians.detach())
