"""Anti-aliased downsampling along one axis after the other, at the kept pixels only.

Shapes: B batch, C channels, H W height and width, k kernel.
"""

from torch import Tensor, nn

from model.networks.blocks import AntiAliasedDownsample


class AntiAliasedLines:
    """`AntiAliasedDownsample` as two matrix products: its Gaussian is the product of one along each axis."""

    def __init__(self, plain: nn.Module) -> None:
        self._plain = plain if isinstance(plain, AntiAliasedDownsample) and plain.stride > 1 else None
        if self._plain is not None:
            # A kernel that is a product and sums to one is the product of its sums along the axes.
            self._line_k = self._plain.weight[0, 0].sum(0)
        self._matrices: dict[int, Tensor] = {}

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return float_BCHW with H and W divided by the stride."""
        if self._plain is None:
            return x_BCHW
        height, width = x_BCHW.shape[2:]
        return self._matrix(height) @ x_BCHW @ self._matrix(width).T

    def _matrix(self, length: int) -> Tensor:
        if length not in self._matrices:
            self._matrices[length] = self._banded(length)
        return self._matrices[length]

    def _banded(self, length: int) -> Tensor:
        """Return the matrix (kept pixels, pixels) that blurs one line and keeps every n-th pixel; outside is black."""
        assert self._plain is not None
        stride, radius = self._plain.stride, self._plain.radius
        kept = (length + stride - 1) // stride
        matrix = self._line_k.new_zeros(kept, length + 2 * radius)
        for row in range(kept):
            matrix[row, row * stride : row * stride + 2 * radius + 1] = self._line_k
        return matrix[:, radius : radius + length].contiguous()
