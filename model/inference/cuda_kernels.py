"""Small steps between convolutions in one pass over memory instead of two or three, compiled when first called.

Torch's jiterator compiles them with the driver's own compiler: no toolkit is needed. Where it cannot (and on a CPU)
the same is done by torch's operators, one after the other.

Shapes: ... any leading axes, C channels, last in memory.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Written so that NaN stays NaN, as with torch's ReLU: the animator must see it.
_BIAS_RELU = """template <typename T> T bias_relu(T y, T bias) {
    T sum = y + bias;
    return sum < T(0) ? T(0) : sum;
}"""
_AFFINE_RELU = """template <typename T> T affine_relu(T x, T scale, T shift) {
    T moved = x * scale + shift;
    return moved < T(0) ? T(0) : moved;
}"""
_ADD_AFFINE_RELU = """template <typename T> void add_affine_relu(T x, T y, T scale, T shift, T& sum, T& activated) {
    sum = x + y;
    T moved = sum * scale + shift;
    activated = moved < T(0) ? T(0) : moved;
}"""


def bias_relu(y: Tensor, bias_C: Tensor) -> Tensor:
    """Return relu(y + bias). `y` may be written over."""
    kernel = _kernel(y, "bias_relu")
    return y.add_(bias_C).relu_() if kernel is None else kernel(y, bias_C)


def affine_relu(x: Tensor, scale_C: Tensor, shift_C: Tensor) -> Tensor:
    """Return relu(scale x + shift)."""
    kernel = _kernel(x, "affine_relu")
    return torch.addcmul(shift_C, x, scale_C).relu_() if kernel is None else kernel(x, scale_C, shift_C)


def add_affine_relu(x: Tensor, y: Tensor, scale_C: Tensor, shift_C: Tensor) -> tuple[Tensor, Tensor]:
    """Return x + y and relu(scale (x + y) + shift). `x` may be written over."""
    kernel = _kernel(x, "add_affine_relu")
    if kernel is not None:
        return kernel(x, y, scale_C, shift_C)
    total = x.add_(y)
    return total, torch.addcmul(shift_C, total, scale_C).relu_()


def compiled_kernels(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """Return for each kernel "ok", or why torch's own operators are used in its place."""
    return {name: _tried(device, dtype, name)[1] for name in _SOURCES}


_SOURCES: dict[str, tuple[str, int]] = {
    "bias_relu": (_BIAS_RELU, 1),
    "affine_relu": (_AFFINE_RELU, 1),
    "add_affine_relu": (_ADD_AFFINE_RELU, 2),
}


def _kernel(tensor: Tensor, name: str) -> Callable[..., Any] | None:
    # A compiler of the whole network joins the steps itself.
    if not tensor.is_cuda or torch.compiler.is_compiling():
        return None
    return _tried(tensor.device, tensor.dtype, name)[0]


@cache
def _tried(device: torch.device, dtype: torch.dtype, name: str) -> tuple[Callable[..., Any] | None, str]:
    """Return the kernel if it compiles and computes what the operators compute, and "ok" or what is wrong with it."""
    source, num_outputs = _SOURCES[name]
    try:
        kernel = (
            torch.cuda.jiterator._create_jit_fn(source)
            if num_outputs == 1
            else torch.cuda.jiterator._create_multi_output_jit_fn(source, num_outputs)
        )
        large = [torch.randn(3, 5, 7, 16, device=device, dtype=dtype) for _ in range(1 + (num_outputs > 1))]
        small = [torch.randn(16, device=device, dtype=dtype) for _ in range(1 if name == "bias_relu" else 2)]
        actual = kernel(*large, *small)
        expected = _by_operators(name, [tensor.double() for tensor in (*large, *small)])
        actual = [actual] if num_outputs == 1 else list(actual)
        for own, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(own.double(), other, atol=0.05, rtol=0.02)
    except (RuntimeError, AssertionError, AttributeError) as error:
        return None, f"{type(error).__name__}: {error}"[:300]
    return kernel, "ok"


def _by_operators(name: str, tensors: list[Tensor]) -> list[Tensor]:
    if name == "bias_relu":
        return [(tensors[0] + tensors[1]).relu()]
    if name == "affine_relu":
        return [(tensors[0] * tensors[1] + tensors[2]).relu()]
    total = tensors[0] + tensors[1]
    return [total, (total * tensors[2] + tensors[3]).relu()]
