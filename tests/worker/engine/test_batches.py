"""Out of memory: the batch is halved, and the animation comes out as if nothing had been."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.engine.batches import InParts
from worker.engine.device_faults import as_inference_failure, is_out_of_memory


class SmallDevice:
    """A device that holds `capacity` frames; frames are numbers."""

    def __init__(self, capacity: int, error: BaseException) -> None:
        self.capacity = capacity
        self.error = error
        self.batches: list[int] = []

    def double(self, numbers: np.ndarray) -> np.ndarray:
        self.batches.append(len(numbers))
        if len(numbers) > self.capacity:
            raise self.error
        return 2 * numbers


def run(device: SmallDevice, sizes: list[int]) -> list[int]:
    numbers = np.arange(sum(sizes))
    parts = InParts[np.ndarray]()
    done: list[int] = []
    for batch in np.split(numbers, np.cumsum(sizes)[:-1]):
        for result in parts.run(len(batch), lambda part, batch=batch: device.double(batch[part])):
            done += result.tolist()
    return done


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=range(len(OUT_OF_MEMORY)))
@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8])
def test_no_frame_is_lost_or_shown_twice(capacity: int, error: BaseException) -> None:
    assert run(SmallDevice(capacity, error), [8, 8, 3]) == list(range(0, 38, 2))


def test_later_batches_are_small_from_the_start() -> None:
    device = SmallDevice(2, OUT_OF_MEMORY[0])
    run(device, [8, 8])
    assert device.batches == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]


def test_memory_that_runs_out_in_the_middle() -> None:
    device = SmallDevice(8, OUT_OF_MEMORY[0])
    parts = InParts[np.ndarray]()
    numbers = np.arange(8)
    assert [len(part) for part in parts.run(8, lambda part: device.double(numbers[part]))] == [8]
    device.capacity = 3
    done = [number for part in parts.run(8, lambda part: device.double(numbers[part])) for number in part.tolist()]
    assert done == list(range(0, 16, 2))


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
