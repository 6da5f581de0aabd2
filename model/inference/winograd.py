"""Winograd convolutions: a 3x3 convolution with a quarter of the products, as a few matrix products.

A tile of outputs along one axis is Aᵀ[(G g) · (Bᵀ d)], where g are the taps and d the inputs under the tile; in two
dimensions the same is done along both axes. The products in the middle are one matrix product over the channels for
each place of the transformed tile, and both transforms are matrix products too, so that nothing has to be compiled.

The price is rounding: the points at which polynomials are evaluated grow the numbers. With 1/2 and -2 beside 0 and ±1
all entries of both transforms are short binary fractions, which bfloat16 holds exactly, and one convolution in bfloat16
is off by 1.8 % (directly by 0.24 %, with the usual ±2 by 2.8 %); in float32 by less than 1e-5.

Shapes: H W height and width, C channels in, O channels out, N tiles, n places of a transformed tile, m of an output
tile, t taps.
"""

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

TILE = 4
"""Height and width of a tile of outputs; frames must be divisible by it."""
_TAPS = 3
_PLACES = TILE + _TAPS - 1
_POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))
"""Where the polynomials are evaluated, beside infinity."""


class WinogradConvolution:
    """A 3x3 convolution of stride 1, without bias, over one frame that already has its rim of one pixel."""

    def __init__(self, weight_OCtt: Tensor, dtype: torch.dtype) -> None:
        A_mn, G_nt, B_nn = transforms()
        self._input_nn = torch.kron(B_nn, B_nn).to(dtype)
        self._output_mn = torch.kron(A_mn, A_mn).to(dtype)
        transformed = torch.einsum("nt,octs,ms->nmco", G_nt, weight_OCtt.double(), G_nt)
        self._weight_nCO = transformed.flatten(0, 1).to(dtype).contiguous()

    def __call__(self, padded_HWC: Tensor) -> Tensor:
        """Return the outputs as a view of shape (rows, m, columns, m, O), see `as_tiles`."""
        channels = padded_HWC.shape[2]
        rows, columns = (padded_HWC.shape[0] - 2) // TILE, (padded_HWC.shape[1] - 2) // TILE
        down, right, _ = padded_HWC.stride()
        overlapping = padded_HWC.as_strided(
            (_PLACES, _PLACES, rows, columns, channels), (down, right, TILE * down, TILE * right, 1)
        )
        inputs_nNC = (self._input_nn @ overlapping.reshape(_PLACES**2, -1)).view(_PLACES**2, -1, channels)
        products_nNO = torch.bmm(inputs_nNC, self._weight_nCO)
        outputs = self._output_mn @ products_nNO.flatten(1)
        return outputs.view(TILE, TILE, rows, columns, -1).permute(2, 0, 3, 1, 4)


def as_tiles(frame_HWC: Tensor) -> Tensor:
    """Return a view of a frame, or of the inside of a padded one, in the order of the tiles."""
    return frame_HWC.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE))


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Return Aᵀ as A_mn, G_nt and Bᵀ as B_nn (Toom and Cook), in float64, computed in exact fractions."""
    B_nn = [list(row) for row in zip(*_inverse(_evaluation(_PLACES)), strict=True)]
    G_nt = _evaluation(_TAPS)
    for row_B, row_G in zip(B_nn, G_nt, strict=True):
        # A row of B may be scaled if that of G is scaled back: with a last entry of 1 all entries of B are short.
        scale = next(entry for entry in reversed(row_B) if entry)
        row_B[:] = [entry / scale for entry in row_B]
        row_G[:] = [entry * scale for entry in row_G]
    A_mn = list(zip(*_evaluation(TILE), strict=True))
    return _tensor(A_mn), _tensor(G_nt), _tensor(B_nn)


def _evaluation(num_powers: int) -> list[list[Fraction]]:
    """Return the matrix that evaluates a polynomial at the points, and at infinity (its last coefficient)."""
    finite = [[point**power for power in range(num_powers)] for point in _POINTS]
    return [*finite, [Fraction(power == num_powers - 1) for power in range(num_powers)]]


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Invert exactly (Gauss and Jordan)."""
    size = len(matrix)
    rows = [row + [Fraction(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [entry / rows[column][column] for entry in rows[column]]
        for i in range(size):
            if i != column and rows[i][column]:
                factor = rows[i][column]
                rows[i] = [entry - factor * above for entry, above in zip(rows[i], rows[column], strict=True)]
    return [row[size:] for row in rows]


def _tensor(rows: Sequence[Sequence[Fraction]]) -> Tensor:
    return torch.tensor([[float(entry) for entry in row] for row in rows], dtype=torch.float64)
