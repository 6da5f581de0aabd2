"""The generator's bottleneck, where three quarters of the time go: residual blocks, one behind the other.

In a block `x + conv2(relu(norm2(conv1(relu(norm1(x))))))` the second norm is folded into the first convolution. The
first stands before a ReLU and after a sum; it becomes an affine map of each channel, written straight into the inside
of the frame with its rim that the convolution needs.

Shapes: B batch, H W height and width, C channels.
"""

import torch
from torch import Tensor, nn

from model.inference.convolutions import Convolution
from model.inference.cuda_convolutions import CudaBottleneck
from model.inference.weights import fold_norm, norm_as_affine, plain_weights
from model.inference.winograd import TILE, WinogradConvolution, as_tiles
from model.networks.blocks import ResBlock

_FEWEST_CHANNELS = 128
"""With fewer channels Winograd's transforms cost as much as the products that they save."""


def bottleneck(plain: nn.Sequential, dtype: torch.dtype, size: int) -> "Bottleneck | CudaBottleneck":
    """Return the blocks as their device runs them; `size` is the height of the frames of features."""
    on_gpu = any(weight.is_cuda for weight in plain.parameters())
    return CudaBottleneck(plain, dtype) if on_gpu else Bottleneck(plain, dtype, size)


class Bottleneck:
    """The blocks, by Winograd's convolutions where they pay: on a CPU without matrix units for the type, with many
    channels, in frames of whole tiles.

    `size` is the height of the frames of features.
    """

    def __init__(self, plain: nn.Sequential, dtype: torch.dtype, size: int) -> None:
        self._in_tiles = len(plain) > 0 and size % TILE == 0 and _is_worth_it(plain, dtype)
        build = WinogradBlock if self._in_tiles else DirectBlock
        self._blocks = [build(block, dtype) for block in plain]  # type: ignore[arg-type]

    def __call__(self, x_BHWC: Tensor) -> Tensor:
        """Return float_BHWC of the same shape. `x_BHWC` is written over."""
        # In tiles a frame at a time: what a block reads and writes then stays in the cache.
        for frames_BHWC in x_BHWC.split(1 if self._in_tiles else len(x_BHWC)):
            for block in self._blocks:
                block.add_to(frames_BHWC)
        return x_BHWC


class DirectBlock:
    """A residual block with ordinary convolutions, on a CPU."""

    def __init__(self, plain: ResBlock, dtype: torch.dtype) -> None:
        scale_C, shift_C = norm_as_affine(plain.norm1)
        self._scale_C, self._shift_C = scale_C.to(dtype), shift_C.to(dtype)
        self._first = Convolution(fold_norm(plain.conv1, plain.norm2), dtype, padding=1, relu=True)
        self._second = Convolution(plain_weights(plain.conv2), dtype, padding=1, relu=False)

    def add_to(self, x_BHWC: Tensor) -> None:
        """Add the block's output to its input, in place."""
        activated_BHWC = torch.addcmul(self._shift_C, x_BHWC, self._scale_C).relu_()
        self._second.add_to(x_BHWC, self._first(activated_BHWC))


class WinogradBlock:
    """A residual block by Winograd's convolutions, added in place to one frame."""

    def __init__(self, plain: ResBlock, dtype: torch.dtype) -> None:
        scale_C, shift_C = norm_as_affine(plain.norm1)
        self._scale_C, self._shift_C = scale_C.to(dtype), shift_C.to(dtype)
        first, second = fold_norm(plain.conv1, plain.norm2), plain_weights(plain.conv2)
        self._first, self._first_bias_C = WinogradConvolution(first.weight_OCkk, dtype), first.bias_O.to(dtype)
        self._second, self._second_bias_C = WinogradConvolution(second.weight_OCkk, dtype), second.bias_O.to(dtype)

    def add_to(self, x_1HWC: Tensor) -> None:
        """Add the block's output to the frame, in place."""
        x_HWC = x_1HWC[0]
        height, width, channels = x_HWC.shape
        padded_HWC = x_HWC.new_zeros(height + 2, width + 2, channels)
        inside_HWC = padded_HWC[1:-1, 1:-1]
        torch.addcmul(self._shift_C, x_HWC, self._scale_C, out=inside_HWC)
        tiles = self._first(padded_HWC.relu_())
        torch.add(tiles, self._first_bias_C, out=as_tiles(inside_HWC))
        tiles = self._second(padded_HWC.relu_())
        as_tiles(x_HWC).add_(tiles)
        x_HWC.add_(self._second_bias_C)


def _is_worth_it(plain: nn.Sequential, dtype: torch.dtype) -> bool:
    # Matrix units multiply sixteen times as fast as vectors do, and the transforms, which are passes over memory, take
    # what they took: there the direct convolution is twice as fast, and exact.
    if dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported():
        return False
    weight = next(plain.parameters())
    block = plain[0]
    assert isinstance(block, ResBlock)
    return weight.device.type == "cpu" and block.conv1.in_channels >= _FEWEST_CHANNELS
