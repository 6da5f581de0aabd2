"""The multi-scale patch discriminator.

Attribute names are the keys of published checkpoints, as in `model.networks`.

Shapes: B batch, C channels, H W height and width of the frame, h w of a feature map, K keypoints.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from model.config import DiscriminatorConfig, ModelConfig
from model.networks.grid import gaussian_heatmaps
from model.networks.keypoints import Keypoints

_KERNEL_SIZE = 4
_LEAK = 0.2


class Judgement(NamedTuple):
    """What one discriminator says of a batch: features of every block (for feature matching) and a score per patch."""

    features_BChw: list[Tensor]
    scores_B1hw: Tensor


class PatchBlock(nn.Module):
    """Convolution without padding, instance norm, leaky ReLU, and perhaps the mean of 2x2 pixels."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: bool, pool: bool, normalize: bool) -> None:
        super().__init__()
        self.conv = _convolution(in_channels, out_channels, _KERNEL_SIZE, normalize=normalize)
        self.norm = nn.InstanceNorm2d(out_channels, affine=True) if norm else None
        self.pool = pool

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features_BChw."""
        x_BCHW = self.conv(x_BCHW)
        if self.norm is not None:
            x_BCHW = self.norm(x_BCHW)
        x_BCHW = F.leaky_relu(x_BCHW, _LEAK)
        return F.avg_pool2d(x_BCHW, 2) if self.pool else x_BCHW


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of frames of one size, optionally told where the keypoints are."""

    def __init__(self, config: ModelConfig, own: DiscriminatorConfig) -> None:
        super().__init__()
        in_channels = config.num_channels + (config.num_keypoints if own.use_keypoints else 0)
        widths = [min(own.max_features, own.block_expansion * 2 ** (level + 1)) for level in range(own.num_blocks)]
        self.keypoint_variance = own.keypoint_variance
        self.use_keypoints = own.use_keypoints
        self.down_blocks = nn.ModuleList(
            # The first block sees raw colours, which a norm would wash out; the last keeps its resolution.
            PatchBlock(before, after, norm=level > 0, pool=level < own.num_blocks - 1, normalize=own.spectral_norm)
            for level, (before, after) in enumerate(zip((in_channels, *widths[:-1]), widths, strict=True))
        )
        self.conv = _convolution(widths[-1], 1, 1, normalize=own.spectral_norm)

    def forward(self, frames_BCHW: Tensor, keypoints: Keypoints | None = None) -> Judgement:
        """Judge frames in [0, 1]. `keypoints` are required if, and used only if, the configuration asks for them.

        Raises `ValueError` if they are required and absent.
        """
        x_BCHW = frames_BCHW
        if self.use_keypoints:
            if keypoints is None:
                raise ValueError("this discriminator needs keypoints")
            height, width = frames_BCHW.shape[2:]
            heatmaps_BKHW = gaussian_heatmaps(keypoints.positions_BK2, height, width, self.keypoint_variance)
            x_BCHW = torch.cat((x_BCHW, heatmaps_BKHW), dim=1)
        features = []
        for block in self.down_blocks:
            x_BCHW = block(x_BCHW)
            features.append(x_BCHW)
        return Judgement(features, self.conv(x_BCHW))


class Discriminator(nn.Module):
    """One `PatchDiscriminator` for each scale of the image pyramid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.discriminator is None:
            raise ValueError(f"{config.name} has no discriminator")
        self.scales = config.discriminator.scales
        self.discs = nn.ModuleDict(
            {scale_key(scale): PatchDiscriminator(config, config.discriminator) for scale in self.scales}
        )

    def forward(self, pyramid_BCHW: Sequence[Tensor], keypoints: Keypoints | None = None) -> list[Judgement]:
        """Judge the frames at each of `self.scales`, given in that order."""
        return [
            self.discs[scale_key(scale)](frames_BCHW, keypoints)
            for scale, frames_BCHW in zip(self.scales, pyramid_BCHW, strict=True)
        ]


def scale_key(scale: float) -> str:
    """Return the key of a scale in published checkpoints: `1`, `0-5` (a module's name cannot hold a dot)."""
    return f"{scale:g}".replace(".", "-")


def _convolution(in_channels: int, out_channels: int, kernel_size: int, *, normalize: bool) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size)
    # The hook of `nn.utils`, not the newer parametrization: its keys (weight_orig, weight_u) are the published ones.
    return spectral_norm(conv) if normalize else conv
