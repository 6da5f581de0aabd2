"""Convolutions of the fast path on a GPU: whole vectors of channels, and fewer passes over memory between them.

Shapes: B batch, H W height and width, C channels in, O channels out.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.inference.cuda_kernels import add_affine_relu, affine_relu, bias_relu
from model.inference.weights import Weights, fold_norm, norm_as_affine, plain_weights
from model.networks.blocks import ResBlock

_WHOLE = {torch.float32: 4, torch.bfloat16: 8, torch.float16: 8}
"""Channels that a tensor core reads at once: numbers of channels that are no multiple take slower kernels."""


class CudaConvolution:
    """A convolution with its ReLU; `bias=False` leaves the bias to the caller. Channels are filled up with zeros."""

    def __init__(
        self, weights: Weights, dtype: torch.dtype, *, padding: int, stride: int, relu: bool, bias: bool = True
    ) -> None:
        self._padding, self._stride, self._relu = padding, stride, relu
        self._num_out, num_in = weights.weight_OCkk.shape[:2]
        more_out, more_in = -self._num_out % _WHOLE[dtype], -num_in % _WHOLE[dtype]
        weight_OCkk = F.pad(weights.weight_OCkk, (0, 0, 0, 0, 0, more_in, 0, more_out))
        self._num_in = weight_OCkk.shape[1]
        self._weight_OCkk = weight_OCkk.to(dtype).contiguous(memory_format=torch.channels_last)
        self._bias_O = F.pad(weights.bias_O, (0, more_out)).to(dtype) if bias else None

    def __call__(self, x_BHWC: Tensor) -> Tensor:
        """Return float_BHWO."""
        if x_BHWC.shape[3] != self._num_in:
            x_BHWC = F.pad(x_BHWC, (0, self._num_in - x_BHWC.shape[3]))
        x_BCHW = x_BHWC.permute(0, 3, 1, 2)
        y_BOHW = F.conv2d(x_BCHW, self._weight_OCkk, padding=self._padding, stride=self._stride)
        y_BHWO = y_BOHW.permute(0, 2, 3, 1)
        if self._bias_O is not None:
            y_BHWO = bias_relu(y_BHWO, self._bias_O) if self._relu else y_BHWO.add_(self._bias_O)
        return y_BHWO[..., : self._num_out]


class _Block(NamedTuple):
    scale_C: Tensor
    shift_C: Tensor
    first: CudaConvolution
    second: CudaConvolution


class CudaBottleneck:
    """Residual blocks, one behind the other; what is between two convolutions is one pass.

    The biases of the second convolutions are added once, at the end: in between the blocks' own norms make up for
    them, which must see the sum with all biases so far.
    """

    def __init__(self, plain: nn.Sequential, dtype: torch.dtype) -> None:
        self._blocks: list[_Block] = []
        owed_C: Tensor | None = None
        for block in plain:
            assert isinstance(block, ResBlock)
            scale_C, shift_C = norm_as_affine(block.norm1)
            if owed_C is not None:
                shift_C = shift_C + scale_C * owed_C
            second = plain_weights(block.conv2)
            owed_C = second.bias_O.double() + (0 if owed_C is None else owed_C)
            first = fold_norm(block.conv1, block.norm2)
            self._blocks.append(
                _Block(
                    scale_C.to(dtype),
                    shift_C.to(dtype),
                    CudaConvolution(first, dtype, padding=1, stride=1, relu=True),
                    CudaConvolution(second, dtype, padding=1, stride=1, relu=False, bias=False),
                )
            )
        self._owed_C = None if owed_C is None else owed_C.to(dtype)

    def __call__(self, x_BHWC: Tensor) -> Tensor:
        """Return float_BHWC of the same shape. `x_BHWC` may be written over."""
        if self._owed_C is None:
            return x_BHWC
        activated_BHWC = affine_relu(x_BHWC, self._blocks[0].scale_C, self._blocks[0].shift_C)
        for block, following in zip(self._blocks[:-1], self._blocks[1:], strict=True):
            y_BHWC = block.second(block.first(activated_BHWC))
            x_BHWC, activated_BHWC = add_affine_relu(x_BHWC, y_BHWC, following.scale_C, following.shift_C)
        y_BHWC = self._blocks[-1].second(self._blocks[-1].first(activated_BHWC))
        return x_BHWC.add_(y_BHWC).add_(self._owed_C)
