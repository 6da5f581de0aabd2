"""Multi-resolution perceptual loss (section 3.3 of the paper): distances of features of a frozen network.

Shapes: B batch, C channels, H W height and width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.errors import ConfigError
from model.networks.blocks import AntiAliasedDownsample
from model.training.backbones import load_backbone
from model.training.settings import PerceptualConfig

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Pyramid(nn.Module):
    """Frames at several scales, each blurred before it is made smaller, so that nothing aliases."""

    def __init__(self, scales: Sequence[float], num_channels: int = 3) -> None:
        super().__init__()
        self.levels = nn.ModuleList(AntiAliasedDownsample(num_channels, scale) for scale in scales)

    def forward(self, frames_BCHW: Tensor) -> list[Tensor]:
        """Return one float_BCHW for each scale, in the order of the scales."""
        return [level(frames_BCHW) for level in self.levels]


class PerceptualLoss(nn.Module):
    """Weighted L1 distances between features of drawn and real frames, summed over layers and scales.

    The features of the real frame are a target: no gradient flows into them. The backbone stays frozen and in
    `eval()`, whatever `train()` says.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: PerceptualConfig, weights: Sequence[float], frame_size: int) -> None:
        super().__init__()
        self.backbone, self.file = load_backbone(config.backbone, config.weights_file)
        smallest = min(config.scales) * frame_size
        if smallest < getattr(self.backbone, "smallest_side", 1):
            raise ConfigError(
                "config_invalid", f"{config.backbone} cannot see {smallest:g} pixels: drop the smallest scale."
            )
        self.weights = tuple(weights)
        self.pyramid = Pyramid(config.scales)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Stay in `eval()`: the backbone is a ruler, not a pupil."""
        del mode
        return super().train(False)

    def features(self, frames_BCHW: Tensor) -> list[Tensor]:
        """Return the backbone's features of frames in [0, 1]."""
        return self.backbone((frames_BCHW - self.mean) / self.std)

    def forward(self, drawn_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
        """Return the weighted sum of distances, one number."""
        total = drawn_BCHW.new_zeros(())
        for drawn_BChw, real_BChw in zip(self.pyramid(drawn_BCHW), self.pyramid(real_BCHW), strict=True):
            with torch.no_grad():
                targets = self.features(real_BChw)
            for weight, drawn, target in zip(self.weights, self.features(drawn_BChw), targets, strict=True):
                if weight:
                    total = total + weight * (drawn.float() - target.float()).abs().mean()
        return total
