"""Convolutions of the fast path: norms folded in, weights packed once, upsampling and wide edges done on small images.

All take and return float_BHWC (channels last, the order in which the CPU's and the GPU's kernels are fastest), made of
plain weights by folding; none keeps the modules it was made from.

Shapes: B batch, H W height and width, C channels in, O channels out, k kernel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from model.inference.cuda_convolutions import CudaConvolution
from model.inference.weights import Weights

_FEWEST_PIXELS = 64
"""Below an 8x8 image the four phases' weights, 16 for 9, cost more to read than the products that they save."""


class Convolution:
    """A convolution with its ReLU.

    On a CPU its weights are packed once in the order of oneDNN's kernels, which eager mode does at every call: with
    1024 channels on 4x4 pixels that takes five times as long as the products. The ReLU is fused.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype, *, padding: int, stride: int = 1, relu: bool) -> None:
        self._relu = relu
        self._on_gpu: CudaConvolution | None = None
        if weights.bias_O.device.type == "cuda":
            self._on_gpu = CudaConvolution(weights, dtype, padding=padding, stride=stride, relu=relu)
            return
        self._padding, self._stride = [padding, padding], [stride, stride]
        weight_OCkk = weights.weight_OCkk.to(dtype).contiguous(memory_format=torch.channels_last)
        self._bias_O = weights.bias_O.to(dtype)
        self._packed = _has_kernels(dtype)
        if self._packed:
            # The door that torch's own compiler uses for frozen weights.
            weight_OCkk = torch.ops.mkldnn._reorder_convolution_weight(
                weight_OCkk, self._padding, self._stride, [1, 1], 1, None
            )
        self._weight_OCkk = weight_OCkk

    def __call__(self, x_BHWC: Tensor) -> Tensor:
        """Return float_BHWO."""
        if self._on_gpu is not None:
            return self._on_gpu(x_BHWC)
        x_BCHW = x_BHWC.permute(0, 3, 1, 2)
        if self._packed:
            after = "relu" if self._relu else "none"
            y_BOHW = torch.ops.mkldnn._convolution_pointwise(
                x_BCHW, self._weight_OCkk, self._bias_O, self._padding, self._stride, [1, 1], 1, after, [], ""
            )
        else:
            y_BOHW = F.conv2d(x_BCHW, self._weight_OCkk, self._bias_O, padding=self._padding, stride=self._stride)
            if self._relu:
                y_BOHW = y_BOHW.relu_()
        return y_BOHW.permute(0, 2, 3, 1)

    def add_to(self, y_BHWO: Tensor, x_BHWC: Tensor) -> None:
        """Add the convolution of `x_BHWC` to `y_BHWO` in place; of one without a ReLU."""
        assert not self._relu
        if self._on_gpu is not None or not self._packed:
            y_BHWO.add_(self(x_BHWC))
            return
        torch.ops.mkldnn._convolution_pointwise_.binary(
            y_BHWO.permute(0, 3, 1, 2),
            x_BHWC.permute(0, 3, 1, 2),
            self._weight_OCkk,
            self._bias_O,
            self._padding,
            self._stride,
            [1, 1],
            1,
            "add",
            1.0,
            None,
            [],
            None,
        )


def _has_kernels(dtype: torch.dtype) -> bool:
    """Return whether oneDNN computes in this type on this CPU (bfloat16 needs AVX-512)."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


class UpsampledConvolution:
    """Nearest-neighbour doubling, a 3x3 convolution and a ReLU: on the small image, 2.25 times fewer products.

    In the doubled image a 3x3 window covers only 2x2 different pixels, which ones depends on the phase of its centre:
    (even, even), (even, odd), ... So each phase is a 2x2 convolution of the small image with sums of the taps, and all
    four are one convolution with four times the channels. Same result, up to rounding.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype, size: int) -> None:
        """`size` is the height of the small image."""
        self.out_channels = len(weights.bias_O)
        self.in_phases = size * size >= _FEWEST_PIXELS
        if not self.in_phases:
            self._convolution = Convolution(weights, dtype, padding=1, relu=True)
            return
        # taps_atk: which of the three taps fall on small pixel t = 0, 1 of phase a.
        taps_atk = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], device=weights.bias_O.device)
        phases = torch.einsum("atk,ockl,bsl->abocts", taps_atk, weights.weight_OCkk, taps_atk).flatten(0, 2)
        self._convolution = Convolution(Weights(phases, weights.bias_O.repeat(4)), dtype, padding=1, relu=True)

    def phases(self, x_BHWC: Tensor) -> Tensor:
        """Return the doubled image as blocks of 2x2 pixels, of shape (B, H + 1, W + 1, 4 O).

        Block (u, v) holds the rows 2u - 1 and 2u and the columns 2v - 1 and 2v, odd ones last: the channels of
        (2u, 2v), of (2u, 2v - 1), of (2u - 1, 2v) and of (2u - 1, 2v - 1). What lies outside the image is not zero.
        """
        assert self.in_phases
        return self._convolution(x_BHWC)

    def into(self, out_BHWO: Tensor, x_BHWC: Tensor) -> None:
        """Write the doubled image, which may be the first channels of a wider one."""
        batch, height, width, _ = x_BHWC.shape
        if not self.in_phases:
            doubled_BCHW = F.interpolate(x_BHWC.permute(0, 3, 1, 2), scale_factor=2, mode="nearest")
            out_BHWO.copy_(self._convolution(doubled_BCHW.permute(0, 2, 3, 1)))
            return
        blocks = self.phases(x_BHWC)
        by_batch, by_row, by_column, _ = blocks.stride()
        channels = self.out_channels
        # Pixel (2i + a, 2j + b) is phase (a, b) of block (i + a, j + b).
        ordered = blocks.as_strided(
            (batch, height, 2, width, 2, channels),
            (by_batch, by_row, by_row + 2 * channels, by_column, by_column + channels, 1),
        )
        out_BHWO.unflatten(2, (width, 2)).unflatten(1, (height, 2)).copy_(ordered)

    def __call__(self, x_BHWC: Tensor) -> Tensor:
        """Return the doubled image."""
        batch, height, width, _ = x_BHWC.shape
        out_BHWO = x_BHWC.new_empty(batch, 2 * height, 2 * width, self.out_channels)
        self.into(out_BHWO, x_BHWC)
        return out_BHWO


class EdgeConvolution:
    """The last 7x7 convolution, to three colours, computed for 2x2 pixels at a time.

    A kernel computes 16 output channels at once and would waste 13 of them: four pixels fill 12. Twice to three times
    as fast, although the windows of four pixels together are 8x8. No ReLU.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype) -> None:
        channels = weights.weight_OCkk.shape[1]
        bias = weights.bias_O.repeat(4)
        kernel = weights.weight_OCkk.shape[2]
        pixels = _windows(weights.weight_OCkk)
        self._on_pixels = Convolution(Weights(pixels, bias), dtype, padding=kernel // 2, stride=2, relu=False)
        # The same windows cut into the blocks of `UpsampledConvolution.phases`: 4x4 blocks of 2x2 pixels, where the
        # lower and the right pixel come first.
        blocks = pixels.unflatten(3, (4, 2)).unflatten(2, (4, 2)).flip(3, 5)
        blocks = blocks.permute(0, 3, 5, 1, 2, 4).reshape(len(bias), 4 * channels, 4, 4)
        self._on_blocks = Convolution(Weights(blocks, bias), dtype, padding=1, relu=False)

    def of_pixels(self, x_BHWC: Tensor) -> Tensor:
        """Return float_BHWO of an image of any size."""
        height, width = x_BHWC.shape[1:3]
        if height % 2 or width % 2:
            x_BHWC = F.pad(x_BHWC, (0, 0, 0, width % 2, 0, height % 2))
        return _as_pixels(self._on_pixels(x_BHWC))[:, :height, :width]

    def of_blocks(self, blocks: Tensor) -> Tensor:
        """Return float_BHWO of what `UpsampledConvolution.phases` made, which need not be put in order for it."""
        # Outside the image the convolution must see zeros; the upper rows and left columns of the outermost blocks are.
        channels = blocks.shape[3] // 4
        blocks[:, 0, :, 2 * channels :] = 0
        blocks[:, -1, :, : 2 * channels] = 0
        by_column = blocks.unflatten(3, (2, 2, channels))
        by_column[:, :, 0, :, 1] = 0
        by_column[:, :, -1, :, 0] = 0
        return _as_pixels(self._on_blocks(blocks))


def _windows(weight_OCkk: Tensor) -> Tensor:
    """Return the kernel of 2x2 pixels at once: for pixel (p, q) the own kernel moved by it, in one window for all."""
    kernels = [F.pad(weight_OCkk, (q, 1 - q, p, 1 - p)) for p in (0, 1) for q in (0, 1)]
    return torch.cat(kernels)


def _as_pixels(blocks: Tensor) -> Tensor:
    """Put (B, H/2, W/2, 4 O), pixels (0, 0), (0, 1), (1, 0), (1, 1), in order."""
    batch, height, width, _ = blocks.shape
    pixels = blocks.unflatten(3, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5)
    return pixels.reshape(batch, 2 * height, 2 * width, -1)
