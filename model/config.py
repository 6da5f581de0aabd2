"""What a model is, as frozen dataclasses, and the published models as presets.

The configuration travels with the weights (see `model.bundle`); nothing here reads a file or imports torch.
Numbers of the presets are those of the published configuration files; a test compares all eight.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from model.config_reader import read_dataclass
from model.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionTransferOptions:
    """How driving motion is carried over to the source (`model.inference.motion_transfer`).

    `relative` moves the source's keypoints by what the driver's keypoints have moved since the first driving frame;
    otherwise the driver's keypoints are taken as they are. `relative_jacobian` and `adapt_scale` act only with it.
    """

    relative: bool = True
    relative_jacobian: bool = True
    adapt_scale: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class KeypointDetectorConfig:
    """The hourglass that finds keypoints, and how its heatmaps are read."""

    block_expansion: int
    """Channels after level 0 of the hourglass; each level doubles them, up to `max_features`."""
    num_blocks: int
    max_features: int
    temperature: float
    """Divides the heatmap logits before the softmax: smaller is sharper."""
    scale_factor: float = 1.0
    """The network sees the frame at this fraction of its size."""
    single_jacobian_map: bool = False
    """One Jacobian map for all keypoints instead of one for each."""
    pad: int = 0
    """Padding of the heatmap's 7x7 convolution; the published models use none, so their heatmaps lose 6 pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseMotionConfig:
    """The hourglass that blends sparse motions into one flow."""

    block_expansion: int
    num_blocks: int
    max_features: int
    scale_factor: float = 1.0
    keypoint_variance: float = 0.01
    """Variance of the Gaussian drawn at a keypoint, in squared units of the [-1, 1] frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """The network that draws the frame."""

    block_expansion: int
    max_features: int
    num_down_blocks: int
    num_bottleneck_blocks: int
    dense_motion: DenseMotionConfig
    estimate_occlusion_map: bool = False
    skips: bool = False
    """Add the source's finer features on the way up, and at last its colours, moved along the same flow and dimmed by
    the same map. No model of the FOMM paper does this; Monkey-Net (Siarohin et al. 2019) joins moved features so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """The patch discriminator; used in training only."""

    block_expansion: int
    num_blocks: int
    max_features: int
    scales: tuple[float, ...] = (1.0,)
    spectral_norm: bool = False
    use_keypoints: bool = False
    """Also show it a Gaussian heatmap for each keypoint."""
    keypoint_variance: float = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One model: its networks, the frames they take, and how its motion is transferred by default."""

    name: str
    frame_size: int
    """Height and width of every frame, in pixels."""
    num_keypoints: int
    num_channels: int = 3
    estimate_jacobian: bool = True
    """First-order motion (a 2x2 Jacobian at each keypoint); without it keypoints only translate."""
    align_corners: bool = True
    """Whether -1 and 1 are pixel centres when sampling. True is what the published weights were trained with."""
    keypoint_detector: KeypointDetectorConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig | None = None
    motion_transfer: MotionTransferOptions = field(default_factory=MotionTransferOptions)

    def __post_init__(self) -> None:
        for part in (self, self.keypoint_detector, self.generator, self.generator.dense_motion, self.discriminator):
            if part is not None:
                _require_positive(part)
        for label, scale_factor, num_halvings in (
            ("keypoint_detector", self.keypoint_detector.scale_factor, self.keypoint_detector.num_blocks),
            ("dense_motion", self.generator.dense_motion.scale_factor, self.generator.dense_motion.num_blocks),
            ("generator", 1.0, self.generator.num_down_blocks),
        ):
            _require_halvings(label, self.frame_size * scale_factor, num_halvings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        values = asdict(self)
        if self.discriminator is not None:
            values["discriminator"]["scales"] = list(self.discriminator.scales)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Read what `to_dict` wrote.

        Raises `ConfigError` for an unknown key, a missing key, or a value of the wrong type or size.
        """
        return read_dataclass(cls, values, "model")


# Fields for which zero is a meaning, not a mistake.
_MAY_BE_ZERO = frozenset({"pad", "num_bottleneck_blocks", "num_down_blocks"})


def _require_positive(part: Any) -> None:
    for entry in fields(part):
        value = getattr(part, entry.name)
        if value == ():
            raise ConfigError("config_invalid", f"{type(part).__name__}.{entry.name} cannot be empty.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not (number > 0 or (number == 0 and entry.name in _MAY_BE_ZERO)):
                raise ConfigError("config_invalid", f"{type(part).__name__}.{entry.name} cannot be {number!r}.")


def _require_halvings(label: str, size: float, num_halvings: int) -> None:
    """A U-Net joins each level with its mirror image, so every halving must come out even."""
    if size % 2**num_halvings:
        raise ConfigError(
            "config_invalid", f"{label} sees {size:g} pixels, which cannot be halved {num_halvings} times without rest."
        )


def _published(
    name: str, *, single_jacobian_map: bool = False, spectral_norm: bool = False, use_keypoints: bool = False
) -> ModelConfig:
    """The published models share one architecture; only these three switches differ."""
    return ModelConfig(
        name=name,
        frame_size=256,
        num_keypoints=10,
        keypoint_detector=KeypointDetectorConfig(
            block_expansion=32,
            num_blocks=5,
            max_features=1024,
            temperature=0.1,
            scale_factor=0.25,
            single_jacobian_map=single_jacobian_map,
        ),
        generator=GeneratorConfig(
            block_expansion=64,
            max_features=512,
            num_down_blocks=2,
            num_bottleneck_blocks=6,
            estimate_occlusion_map=True,
            dense_motion=DenseMotionConfig(block_expansion=64, num_blocks=5, max_features=1024, scale_factor=0.25),
        ),
        discriminator=DiscriminatorConfig(
            block_expansion=32,
            num_blocks=4,
            max_features=512,
            spectral_norm=spectral_norm,
            use_keypoints=use_keypoints,
        ),
    )


def vox_256() -> ModelConfig:
    """Talking heads."""
    return _published("vox-256", spectral_norm=True)


def vox_adv_256() -> ModelConfig:
    """Talking heads, fine-tuned with an adversarial loss."""
    return _published("vox-adv-256", use_keypoints=True)


def taichi_256() -> ModelConfig:
    """Whole bodies."""
    return _published("taichi-256")


def taichi_adv_256() -> ModelConfig:
    """Whole bodies, fine-tuned with an adversarial loss."""
    return _published("taichi-adv-256", use_keypoints=True)


def fashion_256() -> ModelConfig:
    """Fashion videos."""
    return _published("fashion-256")


def mgif_256() -> ModelConfig:
    """Cartoon animals; one Jacobian map for all keypoints."""
    return _published("mgif-256", single_jacobian_map=True, spectral_norm=True)


def bair_256() -> ModelConfig:
    """A robot arm."""
    return _published("bair-256", spectral_norm=True)


def nemo_256() -> ModelConfig:
    """Smiling faces."""
    return _published("nemo-256", spectral_norm=True)


def avatars_128() -> ModelConfig:
    """Procedurally drawn cartoon heads: the small model that ships."""
    return ModelConfig(
        name="avatars-128",
        frame_size=128,
        num_keypoints=16,
        keypoint_detector=KeypointDetectorConfig(
            block_expansion=24, num_blocks=4, max_features=384, temperature=0.1, scale_factor=0.5
        ),
        generator=GeneratorConfig(
            block_expansion=32,
            max_features=256,
            num_down_blocks=2,
            num_bottleneck_blocks=4,
            estimate_occlusion_map=True,
            skips=True,
            dense_motion=DenseMotionConfig(block_expansion=24, num_blocks=4, max_features=384, scale_factor=0.5),
        ),
    )


_WITHOUT_FACES = ("taichi", "fashion", "mgif", "bair")


def shows_faces(name: str) -> bool:
    """Whether frames of the model `name` are cut around a face; those of other categories hold the whole subject."""
    return not name.startswith(_WITHOUT_FACES)


_PUBLISHED = (vox_256, vox_adv_256, taichi_256, taichi_adv_256, fashion_256, mgif_256, bair_256, nemo_256)

PRESETS: Mapping[str, Callable[[], ModelConfig]] = MappingProxyType(
    {preset().name: preset for preset in (*_PUBLISHED, avatars_128)}
)
"""Every preset by its name, as in `PRESETS["vox-256"]()`."""
