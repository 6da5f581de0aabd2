"""Weights of the fast path: a batch norm with stored statistics is an affine map, and folds into a convolution.

Shapes: C channels in, O channels out, k kernel.
"""

from typing import NamedTuple

from torch import Tensor, nn


class Weights(NamedTuple):
    """Weights of a convolution in float32 (float64 while they are folded)."""

    weight_OCkk: Tensor
    bias_O: Tensor


def plain_weights(convolution: nn.Conv2d) -> Weights:
    """Return a convolution's own weights."""
    assert convolution.bias is not None
    return Weights(convolution.weight.detach().float(), convolution.bias.detach().float())


def norm_as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale_C and shift_C: what a norm with stored statistics does to each channel."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale_C = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale_C, norm.bias.detach().double() - norm.running_mean.double() * scale_C


def fold_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Weights:
    """Return the weights of a convolution and the norm after it as one convolution: a norm is free then."""
    own = plain_weights(convolution)
    scale_O, shift_O = norm_as_affine(norm)
    weight_OCkk = own.weight_OCkk.double() * scale_O[:, None, None, None]
    return Weights(weight_OCkk.float(), (own.bias_O.double() * scale_O + shift_O).float())
