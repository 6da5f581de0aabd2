"""Training presets: the eight published schedules, and those of the avatars that we draw ourselves.

Numbers of the published ones are compared with the published files by a test. Where a published setting does not act
as it looks, the preset says what it does (docs/training.md has the list).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from model import config as models
from model.config import ModelConfig
from model.training.settings import EpochSchedule, LossWeights, PerceptualConfig, TrainConfig


def vox_256() -> TrainConfig:
    """Talking heads."""
    return _published(models.vox_256(), EpochSchedule(num_epochs=100, num_repeats=75, milestones=(60, 90)), 40)


def vox_adv_256() -> TrainConfig:
    """Talking heads with an adversary; meant to start from a trained vox-256 (`init_from`)."""
    schedule = EpochSchedule(num_epochs=150, num_repeats=75)
    return _published(models.vox_adv_256(), schedule, 36, generator_gan=1.0)


def taichi_256() -> TrainConfig:
    """Whole bodies."""
    return _published(models.taichi_256(), EpochSchedule(num_epochs=100, num_repeats=150, milestones=(60, 90)), 30)


def taichi_adv_256() -> TrainConfig:
    """Whole bodies with an adversary and frozen keypoints; meant to start from a trained taichi-256 (`init_from`)."""
    schedule = EpochSchedule(num_epochs=150, num_repeats=150)
    published = _published(models.taichi_adv_256(), schedule, 27, generator_gan=1.0)
    return replace(published, lr_keypoint_detector=0.0)


def fashion_256() -> TrainConfig:
    """Fashion videos."""
    schedule = EpochSchedule(num_epochs=100, num_repeats=50, milestones=(60, 90))
    return _published(models.fashion_256(), schedule, 27, generator_gan=1.0)


def mgif_256() -> TrainConfig:
    """Cartoon animals."""
    schedule = EpochSchedule(num_epochs=100, num_repeats=25, milestones=(60, 90))
    return _published(models.mgif_256(), schedule, 36, generator_gan=1.0)


def bair_256() -> TrainConfig:
    """A robot arm."""
    schedule = EpochSchedule(num_epochs=20, num_repeats=1, milestones=(12, 18))
    return _published(models.bair_256(), schedule, 36, generator_gan=1.0)


def nemo_256() -> TrainConfig:
    """Smiling faces."""
    schedule = EpochSchedule(num_epochs=100, num_repeats=8, milestones=(60, 90))
    return _published(models.nemo_256(), schedule, 36, generator_gan=1.0)


def avatars_64() -> TrainConfig:
    """The first stage of our own model: motion is learned where a step is cheap."""
    model = _at_size(models.avatars_128(), "avatars-64", 64)
    learning = _avatars(model, num_steps=12_000, scales=(1.0, 0.5))
    # Close-ups: at this size a mouth is five pixels wide.
    return replace(learning, keypoint_dropout=0.3, close_ups=0.3)


def avatars_128() -> TrainConfig:
    """The same networks at 128 pixels; start them from avatars-64 (`init_from`)."""
    return _avatars(models.avatars_128(), num_steps=12_000, scales=(1.0, 0.5))


def avatars_256() -> TrainConfig:
    """One more block on either side of the generator of avatars-128; start it from there (`init_from`).

    Motion and bottleneck run at the resolutions they had, so most of what was learned stays what it is.
    """
    smaller = models.avatars_128()
    generator = replace(
        smaller.generator,
        num_down_blocks=smaller.generator.num_down_blocks + 1,
        block_expansion=smaller.generator.block_expansion // 2,
    )
    grown = replace(_at_size(smaller, "avatars-256", 256), generator=_scaled(generator, 64 / 256))
    return _avatars(grown, num_steps=8_000, scales=(1.0, 0.5, 0.25))


def at_size(config: TrainConfig, frame_size: int) -> TrainConfig:
    """Return the same run for frames of another size.

    Keypoints and dense motion keep the resolution they work at: their scale factors change by the inverse ratio.
    Perceptual scales that would leave the backbone less than 16 pixels are dropped.
    """
    scales = tuple(scale for scale in config.perceptual.scales if scale * frame_size >= 16) or (1.0,)
    return replace(
        config,
        model=_at_size(config.model, config.model.name, frame_size),
        perceptual=replace(config.perceptual, scales=scales),
    )


def _published(
    model: ModelConfig, epochs: EpochSchedule, batch_size: int, *, generator_gan: float = 0.0
) -> TrainConfig:
    """The published files share learning rates, betas, loss weights and warps; these are the defaults."""
    return TrainConfig(
        name=model.name,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        losses=LossWeights(generator_gan=generator_gan),
    )


def _avatars(model: ModelConfig, *, num_steps: int, scales: tuple[float, ...]) -> TrainConfig:
    return TrainConfig(
        name=model.name,
        model=model,
        losses=LossWeights(keypoint_prior=10.0, l1=50.0, l1_to_copy=2.0),
        perceptual=PerceptualConfig(backbone="efficientnet-lite0", scales=scales),
        num_steps=num_steps,
        batch_size=16,
        decay="cosine",
        warmup_steps=100,
        max_gradient_norm=10.0,
        # More keypoints than a head needs, so that some are left for the mouth and the eyes, which are close together.
        keypoint_distance=0.15,
        expression_pairs=0.25,
        cross_identity_pairs=0.25,
        ema_decay=0.999,
        precision="bf16",
        keypoint_precision="bf16",
        channels_last=True,
        cuda_graph=True,
        num_workers=1,
    )


def _at_size(model: ModelConfig, name: str, frame_size: int) -> ModelConfig:
    ratio = model.frame_size / frame_size
    detector = replace(model.keypoint_detector, scale_factor=_fitting(model.keypoint_detector.scale_factor * ratio))
    dense_motion = model.generator.dense_motion
    generator = _scaled(model.generator, _fitting(dense_motion.scale_factor * ratio))
    return replace(model, name=name, frame_size=frame_size, keypoint_detector=detector, generator=generator)


def _scaled(generator: models.GeneratorConfig, scale_factor: float) -> models.GeneratorConfig:
    return replace(generator, dense_motion=replace(generator.dense_motion, scale_factor=scale_factor))


def _fitting(scale_factor: float) -> float:
    """Nothing is ever enlarged before the networks see it."""
    return min(1.0, scale_factor)


PRESETS: Mapping[str, Callable[[], TrainConfig]] = MappingProxyType(
    {
        preset().name: preset
        for preset in (
            *(vox_256, vox_adv_256, taichi_256, taichi_adv_256, fashion_256, mgif_256, bair_256, nemo_256),
            *(avatars_64, avatars_128, avatars_256),
        )
    }
)
"""Every preset by its name, as in `PRESETS["vox-256"]()`."""
