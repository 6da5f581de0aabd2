"""Convolution blocks, the hourglass, and anti-aliased downsampling.

All blocks keep float_BCHW. Batch norms run with their stored statistics in `eval()`, the only mode of serving.
Convolutions may be converted to half precision (`halve_convolutions`); norms and everything else stay float32.

Shapes: B batch, C channels, H W height and width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameBlock(nn.Module):
    """Convolution, norm, ReLU at one resolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return float_BCHW with `out_channels`."""
        return F.relu(self.norm(self.conv(x_BCHW)))


class DownBlock(nn.Module):
    """Convolution, norm, ReLU, then the mean of 2x2 pixels: half the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return float_BCHW with `out_channels` and half of H and W."""
        return F.avg_pool2d(F.relu(self.norm(self.conv(x_BCHW))), 2)


class UpBlock(nn.Module):
    """Nearest-neighbour doubling, convolution, norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return float_BCHW with `out_channels` and twice H and W."""
        return F.relu(self.norm(self.conv(F.interpolate(x_BCHW, scale_factor=2, mode="nearest"))))


class ResBlock(nn.Module):
    """Pre-activation residual block: norm, ReLU, convolution, twice, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return float_BCHW of the same shape."""
        residual_BCHW = self.conv1(F.relu(self.norm1(x_BCHW)))
        residual_BCHW = self.conv2(F.relu(self.norm2(residual_BCHW)))
        return x_BCHW + residual_BCHW


class HourglassEncoder(nn.Module):
    """The descending half of the hourglass; keeps every resolution for the ascending half."""

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        blocks = [
            DownBlock(before, after) for before, after in zip((in_channels, *widths[1:-1]), widths[1:], strict=True)
        ]
        self.down_blocks = nn.ModuleList(blocks)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the input and the output of each block, from fine to coarse."""
        levels = [x_BCHW]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class HourglassDecoder(nn.Module):
    """The ascending half; each level sees the encoder's output of the same resolution beside its own."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        deepest = len(widths) - 2
        blocks = [
            UpBlock(widths[level + 1] * (1 if level == deepest else 2), widths[level])
            for level in range(deepest, -1, -1)
        ]
        self.up_blocks = nn.ModuleList(blocks)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return float_BCHW at the finest resolution, the hourglass's own input as its last channels."""
        x_BCHW = levels[-1]
        for block, skip_BCHW in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            x_BCHW = torch.cat((block(x_BCHW), skip_BCHW), dim=1)
        return x_BCHW


class Hourglass(nn.Module):
    """U-Net whose output keeps the input as extra channels: `out_channels` is `block_expansion + in_channels`."""

    def __init__(self, in_channels: int, *, block_expansion: int, num_blocks: int, max_features: int) -> None:
        super().__init__()
        widths = [min(max_features, block_expansion * 2**level) for level in range(num_blocks + 1)]
        self.encoder = HourglassEncoder(in_channels, widths)
        self.decoder = HourglassDecoder(widths)
        self.out_channels = widths[0] + in_channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features_BCHW at the resolution of the input, in the type of the convolutions."""
        return self.decoder(self.encoder(as_convolved(x_BCHW, self)))


class AntiAliasedDownsample(nn.Module):
    """Gaussian blur, then every n-th pixel starting at the first, n = 1 / scale_factor.

    The Gaussian's sigma is (n - 1) / 2, cut at four sigma; outside the frame there is black. The published function
    blurs every pixel and then drops most of them; the stride computes only those that are kept.
    """

    weight: Tensor

    def __init__(self, num_channels: int, scale_factor: float) -> None:
        super().__init__()
        self.stride = round(1 / scale_factor)
        sigma = (1 / scale_factor - 1) / 2
        self.radius = round(4 * sigma)
        # At scale 1 sigma is 0: nothing to blur, and nothing to divide by.
        offsets_k = torch.arange(-self.radius, self.radius + 1, dtype=torch.float32)
        line_k = torch.exp(-offsets_k.square() / (2 * sigma**2)) if sigma > 0 else torch.ones(1)
        kernel_kk = torch.outer(line_k, line_k)
        kernel_kk = kernel_kk / kernel_kk.sum()
        self.register_buffer("weight", kernel_kk.repeat(num_channels, 1, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return float_BCHW with H and W divided by n."""
        if self.stride == 1:
            return x_BCHW
        return F.conv2d(x_BCHW, self.weight, stride=self.stride, padding=self.radius, groups=x_BCHW.shape[1])


def as_convolved(x_BCHW: Tensor, network: nn.Module) -> Tensor:
    """Return the tensor in the type and memory layout of the network's convolutions, once for all that follows.

    Otherwise a tensor that is joined to features on several levels is converted by every convolution anew.
    """
    weight = next(module.weight for module in network.modules() if isinstance(module, nn.Conv2d))
    last = weight.is_contiguous(memory_format=torch.channels_last)
    kind = x_BCHW.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    return x_BCHW.to(dtype, memory_format=torch.channels_last if last else torch.contiguous_format)


def halve_convolutions(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the convolutions, in place, to `dtype` (bfloat16 or float16); everything else stays float32."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype)
