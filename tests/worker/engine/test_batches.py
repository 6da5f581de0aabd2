"""Out of memory: the batch is halved, and the animation comes out as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from worker.engine.batches import draw
from worker.engine.device_faults import as_inference_failure, is_out_of_memory


class SmallDevice:
    """An animator whose device holds `capacity` frames; frames are numbers, drawn relative to the first one."""

    def __init__(self, capacity: int, error: BaseException) -> None:
        self.capacity = capacity
        self.error = error
        self.batches: list[int] = []

    def animate(self, prepared: Any, driving_batches: Iterable[np.ndarray], motion: Any) -> Iterator[np.ndarray]:
        first: int | None = None
        for batch in driving_batches:
            self.batches.append(len(batch))
            if len(batch) > self.capacity:
                raise self.error
            first = int(batch[0]) if first is None else first
            yield batch - first


def run(device: SmallDevice, sizes: list[int]) -> list[int]:
    numbers = np.arange(100, 100 + sum(sizes))
    batches = np.split(numbers, np.cumsum(sizes)[:-1])
    nothing: Any = SimpleNamespace()
    animator: Any = device
    return [int(number) for part in draw(animator, nothing, iter(batches), nothing) for number in part]


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=range(len(OUT_OF_MEMORY)))
@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8])
def test_no_frame_is_lost_or_shown_twice(capacity: int, error: BaseException) -> None:
    assert run(SmallDevice(capacity, error), [8, 8, 3]) == list(range(19))


def test_later_batches_are_small_from_the_start() -> None:
    device = SmallDevice(2, OUT_OF_MEMORY[0])
    run(device, [8, 8])
    # After each halving the first frame of the clip is looked at once more.
    assert device.batches == [8, 1, 4, 1, 2, 2, 2, 2, 2, 2, 2, 2]


def test_memory_that_runs_out_in_the_middle() -> None:
    device = SmallDevice(8, OUT_OF_MEMORY[0])
    nothing: Any = SimpleNamespace()
    animator: Any = device
    drawn = draw(animator, nothing, iter(np.split(np.arange(24), 3)), nothing)
    assert list(next(drawn)) == list(range(8))
    device.capacity = 3
    assert [int(number) for part in drawn for number in part] == list(range(8, 24))


def test_one_frame_that_does_not_fit_is_the_end() -> None:
    device = SmallDevice(0, OUT_OF_MEMORY[0])
    with pytest.raises(torch.OutOfMemoryError):
        run(device, [8])
    assert device.batches[-1] == 1


def test_another_error_is_passed_on_at_once() -> None:
    fault = torch.AcceleratorError("CUDA error: device-side assert triggered")
    device = SmallDevice(2, fault)
    with pytest.raises(torch.AcceleratorError):
        run(device, [8])
    assert device.batches == [8]
    assert not is_out_of_memory(fault)
    failure = as_inference_failure(fault)
    assert failure is not None
    assert (failure.code, failure.retryable) == ("device_error", True)
