"""What a training run is, as frozen dataclasses. Written to `run.json` first, and into every checkpoint.

Nothing here imports torch. The published schedules and our own are in `model.training.presets`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from model.config import ModelConfig
from model.config_reader import read_dataclass
from model.errors import ConfigError
from model.training.errors import TrainingError

Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Decay = Literal["milestones", "cosine"]
Backbone = Literal["vgg19", "efficientnet-lite0"]

# Of each backbone.
_NUM_FEATURES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """The weight of each term. A term whose weight is 0 is not computed; the field's name is also its key in the logs.

    `discriminator_gan` and `feature_matching` act only where `generator_gan` is not 0: without it there is no
    discriminator at all. (Two published files set them without it; there they do nothing either.)
    """

    perceptual: tuple[float, ...] = (10.0, 10.0, 10.0, 10.0, 10.0)
    """One weight for each of the backbone's five features, from fine to coarse."""
    equivariance_value: float = 10.0
    equivariance_jacobian: float = 10.0
    keypoint_prior: float = 0.0
    """Keeps keypoints apart. The published models use none."""
    generator_gan: float = 0.0
    discriminator_gan: float = 1.0
    feature_matching: tuple[float, ...] = (10.0, 10.0, 10.0, 10.0)
    """One weight for each block of the discriminator."""
    l1: float = 0.0
    """Mean absolute difference of colours. The published models use none."""
    l1_to_copy: float = 0.0
    """The same as a share of that of copying the source, frame by frame. The published models use none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerceptualConfig:
    """The frozen network whose features are compared, and the scales of the image pyramid it sees."""

    backbone: Backbone = "vgg19"
    weights_file: str = ""
    """A file with the backbone's weights; empty: where the backbone's package keeps them."""
    scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)


@dataclass(frozen=True, kw_only=True, slots=True)
class WarpConfig:
    """The random thin-plate warps of the equivariance terms (`transform_params` of the published files)."""

    sigma_affine: float = 0.05
    sigma_bumps: float = 0.005
    points_per_side: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochSchedule:
    """A length in epochs, as published: an epoch shows every clip `num_repeats` times."""

    num_epochs: int
    num_repeats: int = 1
    milestones: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run. Steps are counted from 0; a checkpoint of step n has seen n batches."""

    name: str
    model: ModelConfig
    by_identity: bool = False
    """An epoch of clips visits people, not clips."""
    data: str = ""
    """What it learns from, as `model.training.launch` knows it again: `avatars`, or a fingerprint of the clips."""
    losses: LossWeights = field(default_factory=LossWeights)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    warp: WarpConfig = field(default_factory=WarpConfig)

    num_steps: int = 0
    """0: not known until `with_clips` turns `epochs` into steps."""
    epochs: EpochSchedule | None = None
    batch_size: int
    """Pairs in a step, over all devices together."""
    lr_generator: float = 2e-4
    lr_keypoint_detector: float = 2e-4
    """0: the keypoint detector is frozen, and the equivariance terms with it."""
    lr_discriminator: float = 2e-4
    decay: Decay = "milestones"
    milestones: tuple[int, ...] = ()
    """Steps at which the learning rates fall to a tenth."""
    warmup_steps: int = 0
    max_gradient_norm: float = 0.0
    """0: gradients are not clipped."""
    ema_decay: float = 0.0
    """0: no moving average of the weights is kept."""

    keypoint_dropout: float = 0.0
    """Share of the keypoints whose motion may not be used in a step, drawn anew for each pair. The published models use
    none. Where one keypoint could move nearly everything, it makes the others learn to."""

    keypoint_distance: float = 0.25
    """Keypoints nearer than this are pushed apart by `keypoint_prior`; 1 is half a frame."""

    avatar_pool: int = 0
    """Of drawn avatars: how many are drawn before the run and kept on its device, four moments each; for GPUs, which
    would wait for the drawing. 0: every step draws its own."""
    cross_identity_pairs: float = 0.0
    """Of drawn avatars: share of the pairs whose driver is another avatar. Clips have none: nobody knows what should
    come out."""
    expression_pairs: float = 0.0
    """Of drawn avatars: share of the pairs in which the head rests and only the face moves, so that mouth and eyes are
    learned too. Clips have none."""
    close_ups: float = 0.0
    """Of drawn avatars: share of the pairs in which the face fills the frame. Clips have none."""

    precision: Precision = "fp32"
    """Of the generator's, discriminator's and backbone's convolutions; warps are float32 always."""
    keypoint_precision: Precision = "fp32"
    """Of the keypoint detector's convolutions. bf16 is cheaper, and moves keypoints by some hundredths of a pixel."""
    device: Device = "auto"
    channels_last: bool = False
    cuda_graph: bool = False
    """Start all kernels of a step at once (`model.training.cuda_graph`); on one GPU, without an adversary."""
    num_workers: int = 0
    """Processes that draw or read data ahead of the step."""
    seed: int = 0
    log_every: int = 10
    sample_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        for name in ("batch_size", "log_every", "sample_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ConfigError("config_invalid", f"train.{name} cannot be {getattr(self, name)!r}.")
        for name, allowed in (
            ("precision", Precision),
            ("keypoint_precision", Precision),
            ("device", Device),
            ("decay", Decay),
        ):
            _require_one_of(f"train.{name}", getattr(self, name), allowed)
        _require_one_of("train.perceptual.backbone", self.perceptual.backbone, Backbone)
        if not 0 <= self.seed < 1 << 32:  # what is drawn for a step has this and the step as its seed
            raise ConfigError("config_invalid", f"train.seed cannot be {self.seed!r}: 0 to {(1 << 32) - 1}.")
        for name in ("ema_decay", "keypoint_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError("config_invalid", f"train.{name} cannot be {getattr(self, name)!r}.")
        for name in ("expression_pairs", "close_ups", "cross_identity_pairs"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError("config_invalid", f"train.{name} cannot be {getattr(self, name)!r}.")
        if self.losses.generator_gan and self.model.discriminator is None:
            raise ConfigError("config_invalid", f"{self.model.name} has no discriminator for generator_gan to use.")
        self._require_weights()

    def _require_weights(self) -> None:
        """Raise `ConfigError` unless there is one weight for each feature that is compared."""
        wanted = {"perceptual": _NUM_FEATURES}
        if self.uses_discriminator and self.model.discriminator is not None:
            wanted["feature_matching"] = self.model.discriminator.num_blocks
        for name, count in wanted.items():
            weights = getattr(self.losses, name)
            if any(weights) and len(weights) != count:
                raise ConfigError("config_invalid", f"train.losses.{name} has {len(weights)} weights, not {count}.")
        if any(self.losses.perceptual) and not self.perceptual.scales:
            raise ConfigError("config_invalid", "train.perceptual.scales is empty.")

    @property
    def uses_discriminator(self) -> bool:
        """Return whether there is an adversary."""
        return self.losses.generator_gan != 0

    @property
    def trains_keypoints(self) -> bool:
        """Return whether the keypoint detector learns."""
        return self.lr_keypoint_detector != 0

    def with_clips(self, num_clips: int) -> "TrainConfig":
        """Turn `epochs` into steps for a data set of `num_clips` clips; an incomplete last batch is dropped."""
        if self.epochs is None or self.num_steps:
            return self
        per_epoch = max(1, num_clips * self.epochs.num_repeats // self.batch_size)
        milestones = tuple(epoch * per_epoch for epoch in self.epochs.milestones)
        return replace(self, num_steps=per_epoch * self.epochs.num_epochs, milestones=milestones)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return _plain(asdict(self) | {"model": self.model.to_dict()})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Read what `to_dict` wrote.

        Raises `ConfigError` for an unknown key, a missing key or a value of the wrong type.
        """
        return read_dataclass(cls, values, "train")


def resumable_difference(old: TrainConfig, new: TrainConfig) -> str:
    """Name the first setting that differs and would make a resumed run another run; empty if there is none.

    How long, how often and where may change: steps, intervals, workers, device.
    """
    free = {"num_steps", "epochs", "log_every", "sample_every", "checkpoint_every", "keep_checkpoints"}
    free |= {"num_workers", "device", "cuda_graph"}
    before, after = old.to_dict(), new.to_dict()
    return next((key for key in before if key not in free and before[key] != after[key]), "")


def require_schedule(config: TrainConfig) -> None:
    """Raise `TrainingError` with code `schedule_incomplete` if the number of steps is not known yet."""
    if config.num_steps < 1:
        raise TrainingError(
            "schedule_incomplete",
            f"{config.name} is scheduled in epochs, so the number of clips must be known.",
            "Call with_clips(...) or set num_steps.",
        )


def learning_rate_factor(config: TrainConfig, step: int) -> float:
    """Return what every base learning rate is multiplied with at a step. A function, so that nothing needs resuming."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.decay == "milestones":
        return warmup * 0.1 ** sum(step >= milestone for milestone in config.milestones)
    return warmup * _cosine(step / max(1, config.num_steps))


def _cosine(share: float) -> float:
    """From 1 to 0.02: a rate of exactly 0 would waste the last steps."""
    from math import cos, pi

    return 0.02 + 0.98 * (1 + cos(pi * min(1.0, share))) / 2


def _require_one_of(where: str, value: str, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise ConfigError("config_invalid", f"{where} cannot be {value!r}: {', '.join(get_args(allowed))}.")


def _plain(value: Any) -> Any:
    """Turn tuples into lists, as JSON would, so that what is written equals what is read."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
