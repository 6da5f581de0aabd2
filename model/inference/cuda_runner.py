"""The networks on a GPU: each batch size is recorded once as a CUDA graph, and frames travel while it computes.

A frame at 256x256 is some 200 kernels of a few microseconds each: launched one by one, a GPU waits for Python most of
the time. A graph is launched at once. Bytes go to the device and bytes come back: both conversions are in the graphs.

Shapes: T frames, B batch, 1 the one source, C channels, H W height and width.
"""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.inference.cuda_transport import Download, Upload
from model.inference.fixed_batches import FixedBatches, Group, Recorded, mapped
from model.inference.pixels import to_unit
from model.inference.runners import Arrangement, Picture, exact_convolutions, picture
from model.networks.keypoints import Keypoints

_WARM_UPS = 3
"""Runs before a recording: kernels are chosen and workspaces made in them, which a recording must not do."""


class GraphRecorder:
    """Records CUDA graphs. All of them share their memory: only one runs at a time, in the caller's stream."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self._living: weakref.WeakSet[Any] = weakref.WeakSet()

    def settle(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self._device)

    def record(self, run: Callable[[], Group]) -> Recorded:
        """Record what `run` does to the device; it is run a few times first."""
        before = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                run()
        self.settle()
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for other in self._living), None)
        try:
            with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = run()
        finally:
            # When the recording failed torch leaves the side stream as the current one.
            torch.cuda.set_stream(before)
        self._living.add(graph)
        return Recorded(graph.replay, outputs)


class CudaRunner:
    """Runs fast networks on one GPU. Its calls come from one thread at a time.

    `tf32` lets the convolutions of float32 (keypoints; all of them at that precision) round their inputs to 10 bits.
    `graphs` and `compiled` (by `torch.compile`, which takes a minute for each new batch size) are for comparison.
    """

    ahead = 1

    def __init__(
        self,
        networks: Arrangement,
        device: torch.device,
        *,
        tf32: bool = False,
        graphs: bool = True,
        compiled: bool = False,
    ) -> None:
        self._networks, self._device, self._tf32 = networks, device, tf32
        self._upload, self._download = Upload(device), Download(device)
        self._recorder = GraphRecorder(device)
        detect, prepare, draw = self._detect, self._prepare, self._draw
        if compiled:
            detect, draw = torch.compile(detect, dynamic=False), torch.compile(draw, dynamic=False)
        if graphs:
            detect, prepare, draw = (FixedBatches(work, self._recorder) for work in (detect, prepare, draw))
        self._detecting, self._preparing, self._drawing = detect, prepare, draw

    def detect(self, frames_THWC: NDArray[np.uint8]) -> Keypoints:
        """Return the keypoints, on the device; nothing waits for them."""
        with self._ready(), self._upload.on_device(frames_THWC) as bytes_THWC:
            return _own(self._detecting((), bytes_THWC))

    def prepare(self, source_1HWC: NDArray[np.uint8]) -> Any:
        """Return all that depends on the source alone."""
        with self._ready(), self._upload.on_device(source_1HWC) as bytes_1HWC:
            return _own(self._preparing((), bytes_1HWC))

    def start(self, source: Any, target: Keypoints) -> Callable[[], Picture]:
        """Begin to draw. What is returned waits for the arrays."""
        with self._ready():
            return self._download.start(self._drawing(source, target))

    def _ready(self) -> "_Ready":
        return _Ready(self._device, self._tf32)

    def _detect(self, _shared: Group, bytes_THWC: Tensor) -> Keypoints:
        return self._networks.detect(to_unit(bytes_THWC))

    def _prepare(self, _shared: Group, bytes_1HWC: Tensor) -> Any:
        return self._networks.prepare(to_unit(bytes_1HWC))

    def _draw(self, source: Any, target: Keypoints) -> Picture:
        return picture(*self._networks.draw_with_occlusion(source, target))


class _Ready:
    """The device is the current one, and the rules for its convolutions are set."""

    def __init__(self, device: torch.device, tf32: bool) -> None:
        self._device = torch.cuda.device(device)
        self._rules = exact_convolutions(device, tf32=tf32, benchmark=True)

    def __enter__(self) -> None:
        self._device.__enter__()
        self._rules.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._rules.__exit__(*exception)
        self._device.__exit__(*exception)


def _own(group: Group) -> Any:
    """Return a copy that no replay writes over."""
    return mapped(group, lambda tensor: tensor.clone())
