"""Operations of a frame, counted, and the machine's peak, measured. A multiplication and an addition are two."""

import statistics
import time
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from model.inference.animator import Animator
from model.inference.convolutions import Convolution
from model.inference.pixels import to_tensor
from model.inference.plain import PlainNetworks
from model.inference.weights import Weights
from model.networks.assembly import Networks

_CHANNELS, _SIZE, _MATRIX = 256, 64, 2048
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def operations(animator: Animator, networks: Networks, frame_1HWC: NDArray[np.uint8]) -> dict[str, float]:
    """Return billions of operations for a frame.

    `plain`: as published; `remaining`: in the animator's networks, of them `keypoints`, which are float32 always.
    """
    networks.keypoint_detector.to(animator.device)
    networks.generator.to(animator.device)
    frame = to_tensor(frame_1HWC, animator.device)
    plain: Any = PlainNetworks(networks, torch.float32)
    fast: Any = animator._networks
    return {
        "plain": _counted(plain, frame),
        "source_once": _count(lambda: plain._generator.encode(frame)),
        "remaining": _counted(fast, frame),
        "keypoints": _count(lambda: fast.detect(frame)),
    }


def measured_peaks(device: torch.device, precision: str, rounds: int) -> dict[str, float]:
    """Return GFLOP/s of a convolution of the bottleneck's size and of a large matrix product."""
    dtype = _DTYPES[precision]
    weights = Weights(torch.randn(_CHANNELS, _CHANNELS, 3, 3, device=device), torch.zeros(_CHANNELS, device=device))
    convolution = Convolution(weights, dtype, padding=1, relu=True)
    image = torch.randn(4, _SIZE, _SIZE, _CHANNELS, device=device).to(dtype)
    matrix = torch.randn(_MATRIX, _MATRIX, device=device).to(dtype)
    return {
        "convolution": _rate(lambda: convolution(image), 2 * image.numel() * _CHANNELS * 9, rounds),
        "matrix_product": _rate(lambda: matrix @ matrix, 2 * _MATRIX**3, rounds),
    }


def _counted(networks: Any, frame: torch.Tensor) -> float:
    source, driving = networks.prepare(frame), networks.detect(frame)
    return _count(lambda: networks.draw(source, driving)) + _count(lambda: networks.detect(frame))


def _count(work: Callable[[], object]) -> float:
    packed = {
        torch.ops.mkldnn._convolution_pointwise: _packed_operations,
        torch.ops.mkldnn._convolution_pointwise_: _added_operations,
    }
    with FlopCounterMode(display=False, custom_mapping=packed) as counter:
        work()
    return counter.get_total_flops() / 1e9


def _packed_operations(
    _image: object, weight_OCkk: torch.Size, *_rest: object, out_shape: torch.Size, **_more: object
) -> int:
    """Operations of a convolution with packed weights, which torch's counter does not know."""
    batch, _, height, width = out_shape
    return 2 * batch * height * width * prod(weight_OCkk)


def _added_operations(_sum: object, image: object, weight_OCkk: torch.Size, *rest: object, **more: Any) -> int:
    """Operations of one whose result is added to a tensor."""
    return _packed_operations(image, weight_OCkk, *rest, **more)


def _rate(work: Callable[[], object], count: int, rounds: int) -> float:
    work()
    seconds = []
    for _ in range(max(rounds, 5)):
        start_s = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start_s)
    return count / statistics.median(seconds) / 1e9
