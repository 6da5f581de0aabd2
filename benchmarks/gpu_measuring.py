"""Figures of one animator on a GPU: frames/s from memory to memory and on the device alone, latency, peaks."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import Frames, Model, as_bundle, lowest_psnr, timed
from benchmarks.operations import measured_peaks
from model.config import MotionTransferOptions
from model.inference import cuda_kernels
from model.inference.animator import Animator
from model.inference.motion_transfer import motion_reference
from model.networks.keypoints import frames_of, on_device


def make(model: Model, device: str, precision: Any, **more: Any) -> Animator:
    """Return an animator with its own copy of the networks."""
    return Animator(as_bundle(model), device, precision, **more)


def animate(animator: Animator, frames: Frames, batch: int) -> Frames:
    """Return the first frame animated by all of them as a job does: all keypoints first, then all pictures."""
    options = MotionTransferOptions()
    prepared = animator.prepare(frames[0])
    driving = [animator.keypoints(part) for part in _parts(frames, batch)]
    reference = motion_reference(prepared.keypoints, frames_of(driving[0], slice(1)), options)
    drawn: list[Frames] = []
    waiting: list[Callable[[], Any]] = []
    for part in driving:
        waiting.append(animator.start(prepared, part, reference, options))
        if len(waiting) > animator.ahead:
            drawn.append(waiting.pop(0)().frames_THWC)
    drawn += [finish().frames_THWC for finish in waiting]
    return np.concatenate(drawn)


def _parts(frames: Frames, batch: int) -> Iterator[Frames]:
    for start in range(0, len(frames), batch):
        yield frames[start : start + batch]


def speed(animator: Animator, frames: Frames, batch: int, seconds: float = 0.4) -> dict[str, float]:
    """Return frames/s from bytes in memory to bytes in memory, and how long the first run of this batch took."""
    first_s = timed(lambda: animate(animator, frames[: 2 * batch], batch))[0]
    animate(animator, frames, batch)
    times_s: list[float] = []
    while sum(times_s) < seconds or len(times_s) < 3:
        times_s.append(timed(lambda: animate(animator, frames, batch))[0])
    return {"frames_per_s": len(frames) / statistics.median(times_s), "first_run_s": first_s}


def on_device_only(animator: Animator, frames: Frames, batch: int, rounds: int = 20) -> dict[str, float]:
    """Return frames/s of the device alone, and milliseconds a batch: keypoints and pictures of bytes that are there."""
    runner: Any = animator._runner
    device = animator.device
    with torch.inference_mode():
        source = animator.prepare(frames[0])
        bytes_THWC = torch.from_numpy(np.resize(frames, (batch, *frames.shape[1:]))).to(device)
        with runner._ready():
            driving = runner._detecting((), bytes_THWC)
            target = on_device(frames_of(driving, slice(None)), device)
            times = {}
            for name, work in {
                "keypoints_ms": lambda: runner._detecting((), bytes_THWC),
                "draw_ms": lambda: runner._drawing(source, target),
            }.items():
                work()
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                for _ in range(rounds):
                    work()
                end.record()
                torch.cuda.synchronize()
                times[name] = start.elapsed_time(end) / rounds
    return {"frames_per_s": 1000 * batch / sum(times.values()), **times}


def latency(animator: Animator, frames: Frames, batch: int, rounds: int = 15) -> dict[str, float]:
    """Return milliseconds from a source and driving frames in memory to the first frames in memory, warm."""
    times_s = [timed(lambda: animate(animator, frames[:batch], batch))[0] for _ in range(rounds + 3)][3:]
    return {"median_ms": 1000 * statistics.median(times_s), "worst_ms": 1000 * max(times_s)}


def quality(animator: Animator, frames: Frames, batch: int, expected: Frames) -> float:
    """Return the worst frame's PSNR to other drawings of the same."""
    return lowest_psnr(animate(animator, frames, batch), expected)


def peaks(device: torch.device, precision: str, tiny: bool) -> dict[str, float]:
    """Return GFLOP/s of a large convolution and of a large matrix product."""
    small = measured_peaks(device, precision, 3)
    if device.type == "cpu" or tiny:
        return small
    rounds, batch, channels, size, matrix = 20, 64, 256, 64, 8192
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    image = torch.randn(batch, channels, size, size, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    square = torch.randn(matrix, matrix, device=device, dtype=dtype)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        convolution_ms = _ms(lambda: torch.nn.functional.conv2d(image, weight, padding=1), rounds)
        matrix_ms = _ms(lambda: square @ square, rounds)
    return {
        "convolution": 2 * image.numel() * channels * 9 / convolution_ms / 1e6,
        "matrix_product": 2 * matrix**3 / matrix_ms / 1e6,
    }


def ways(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return milliseconds of a convolution of the bottleneck, with its ReLU computed in several ways."""
    image = torch.randn(32, 64, 64, 256, device=device, dtype=dtype).permute(0, 3, 1, 2)
    weight = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).mul(0.02).to(memory_format=torch.channels_last)
    bias = torch.randn(256, device=device, dtype=dtype)
    convolve = torch.nn.functional.conv2d
    kernels = cuda_kernels
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "bare": lambda: convolve(image, weight, padding=1),
        "operators": lambda: convolve(image, weight, bias, padding=1).relu_(),
        "compiled step": lambda: kernels.bias_relu(convolve(image, weight, padding=1).permute(0, 2, 3, 1), bias),
        "cudnn fused": lambda: torch.cudnn_convolution_relu(image, weight, bias, [1, 1], [1, 1], [1, 1], 1),
    }
    results: dict[str, Any] = {}
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True):
        for name, way in ways.items():
            try:
                results[name] = _ms(way, 20)
            except RuntimeError as error:
                results[name] = str(error)[:200]
        try:
            results["fused is off by"] = float((ways["cudnn fused"]() - ways["operators"]()).abs().max())
        except RuntimeError as error:
            results["fused is off by"] = str(error)[:200]
    return results


def _ms(work: Callable[[], object], rounds: int) -> float:
    for _ in range(3):
        work()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(rounds):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / rounds


def memory() -> dict[str, float]:
    """Return the most memory of the device that was taken, in MiB."""
    if not torch.cuda.is_available():
        return {}
    return {
        "allocated": torch.cuda.max_memory_allocated() / 2**20,
        "reserved": torch.cuda.max_memory_reserved() / 2**20,
    }
