"""How the animator's frames get through the networks: straight, or (`cuda_runner`) recorded and replayed on a GPU.

Shapes: T frames, B batch, 1 the one source, C channels, H W height and width.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.inference.pixels import to_levels, to_tensor
from model.networks.keypoints import Keypoints

Result = TypeVar("Result")


class Arrangement(Protocol):
    """The networks as a runner uses them. What `prepare` returns is for the same object only."""

    def detect(self, frames_BCHW: Tensor, /) -> Keypoints:
        """Return the keypoints of float_BCHW frames in [0, 1]."""
        ...

    def prepare(self, source_1CHW: Tensor, /) -> Any:
        """Compute all that depends on the source alone."""
        ...

    def draw_with_occlusion(self, source: Any, target: Keypoints, /) -> tuple[Tensor, Tensor | None]:
        """Return frames_BCHW in [0, 1] and occlusion_B1HW."""
        ...


class Picture(NamedTuple):
    """What is drawn for each frame: tensors on the device, arrays once they are in memory."""

    frames_THWC: Any
    """uint8."""
    occlusion_THW: Any
    """float32, or None."""
    finite_T: Any
    """bool: whether the frame was made of numbers."""


class Runner(Protocol):
    """Runs in inference mode, which is the caller's to set."""

    ahead: int
    """How many batches should be begun before the first one's frames are waited for."""

    def detect(self, frames_THWC: NDArray[np.uint8], /) -> Keypoints:
        """Return the keypoints, on the device."""
        ...

    def prepare(self, source_1HWC: NDArray[np.uint8], /) -> Any:
        """Return all that depends on the source alone."""
        ...

    def start(self, source: Any, target: Keypoints, /) -> Callable[[], Picture]:
        """Begin to draw. What is returned waits for the arrays; it is called once, or never."""
        ...


class StraightRunner:
    """Runs the networks as they are called, on any device."""

    ahead = 0

    def __init__(self, networks: Arrangement, device: torch.device) -> None:
        self._networks, self._device = networks, device

    def detect(self, frames_THWC: NDArray[np.uint8]) -> Keypoints:
        """Return the keypoints, on the device."""
        with exact_convolutions(self._device):
            return self._networks.detect(to_tensor(frames_THWC, self._device))

    def prepare(self, source_1HWC: NDArray[np.uint8]) -> Any:
        """Return all that depends on the source alone."""
        with exact_convolutions(self._device):
            return self._networks.prepare(to_tensor(source_1HWC, self._device))

    def start(self, source: Any, target: Keypoints) -> Callable[[], Picture]:
        """Draw at once."""
        with exact_convolutions(self._device):
            drawn = picture(*self._networks.draw_with_occlusion(source, target))
        occlusion_THW = drawn.occlusion_THW
        arrays = Picture(
            drawn.frames_THWC.cpu().numpy(),
            None if occlusion_THW is None else occlusion_THW.cpu().numpy(),
            drawn.finite_T.cpu().numpy(),
        )
        return lambda: arrays


def finished(begun: Iterable[Callable[[], Result]], ahead: int) -> Iterator[Result]:
    """Yield what each of `begun` returns, in order; `ahead` further ones are begun before one is waited for."""
    waiting: deque[Callable[[], Result]] = deque()
    for finish in begun:
        waiting.append(finish)
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def picture(frames_BCHW: Tensor, occlusion_B1HW: Tensor | None) -> Picture:
    """Return what the networks have drawn as it goes to memory: a quarter of the bytes."""
    return Picture(
        to_levels(frames_BCHW),
        None if occlusion_B1HW is None else occlusion_B1HW[:, 0].float(),
        torch.isfinite(frames_BCHW.flatten(1).sum(1)),  # of numbers in [0, 1]: not finite when one of them is not
    )


@contextmanager
def exact_convolutions(device: torch.device, *, tf32: bool = False, benchmark: bool = False) -> Iterator[None]:
    """Within the block a GPU's convolutions of float32 are computed in float32, unless `tf32`: the default rounds.

    With `benchmark` the fastest kernel for each new shape is found by trying them.
    """
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=benchmark, allow_tf32=tf32):
        yield
