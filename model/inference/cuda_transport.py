"""Frames to the GPU and back while it computes: pinned memory, and a stream of its own for each direction.

Computing goes on in the caller's current stream. Each place that a frame rests in is used again only when an event says
that whoever read it is done.

Shapes: T frames, H W height and width, C channels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.inference.fixed_batches import Group, copy_group, mapped, tensors_of
from model.inference.places import FreePlaces, Rotation


class _UploadPlace:
    """Pinned memory, and memory of the device behind it; both grow to the largest batch."""

    def __init__(self) -> None:
        self.host_THWC = torch.empty(0, dtype=torch.uint8)
        self.device_THWC = torch.empty(0, dtype=torch.uint8)
        self.arrived, self.read = torch.cuda.Event(), torch.cuda.Event()


class Upload:
    """Takes frames to the device: one batch may travel while the one before it is computed with."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self._places = Rotation(2, _UploadPlace)

    @contextmanager
    def on_device(self, frames_THWC: NDArray[np.uint8]) -> Iterator[Tensor]:
        """The frames on the device, for the work that the block gives to the current stream."""
        count, current = len(frames_THWC), torch.cuda.current_stream(self._device)
        place = self._places.next()
        place.arrived.synchronize()
        if place.host_THWC.shape[0] < count or place.host_THWC.shape[1:] != frames_THWC.shape[1:]:
            place.host_THWC = torch.empty(frames_THWC.shape, dtype=torch.uint8, pin_memory=True)
            place.device_THWC = torch.empty(frames_THWC.shape, dtype=torch.uint8, device=self._device)
            self._stream.wait_stream(current)  # who had this memory before may still be using it there
        np.copyto(place.host_THWC[:count].numpy(), frames_THWC)
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(place.read)
            place.device_THWC[:count].copy_(place.host_THWC[:count], non_blocking=True)
            place.arrived.record(self._stream)
        current.wait_event(place.arrived)
        try:
            yield place.device_THWC[:count]
        finally:
            place.read.record(current)


class _DownloadPlace:
    """Memory of the device that keeps what was computed, and pinned memory that it goes to."""

    def __init__(self, rows: Group, count: int) -> None:
        self.kind = kind_of_rows(rows)
        self.device = mapped(rows, lambda tensor: tensor.new_empty(count, *tensor.shape[1:]))
        self.host = mapped(
            self.device, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
        )
        self.kept, self.arrived = torch.cuda.Event(), torch.cuda.Event()
        self.count = count


class Download:
    """Takes groups with a row for each frame to memory, while the next batch is computed."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self._places: FreePlaces[_DownloadPlace] = FreePlaces(kept=3)

    def start(self, rows: Group) -> Callable[[], Group]:
        """Begin; what is returned waits for the rows and returns them as arrays of their own. To be called once.

        `rows` may be written over by work that the current stream is given afterwards.
        """
        count, kind = tensors_of(rows)[0].shape[0], kind_of_rows(rows)
        current = torch.cuda.current_stream(self._device)
        place = self._places.take(lambda place: place.kind == kind and place.count >= count)
        if place is None:
            place = _DownloadPlace(rows, count)
        on_device = mapped(place.device, lambda tensor: tensor[:count])
        on_host = mapped(place.host, lambda tensor: tensor[:count])
        copy_group(rows, on_device)
        place.kept.record(current)
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(place.kept)
            for own, target in zip(tensors_of(on_device), tensors_of(on_host), strict=True):
                target.copy_(own, non_blocking=True)
                own.record_stream(self._stream)  # if nobody asks for the rows their place is not kept
            place.arrived.record(self._stream)

        def finish() -> Group:
            place.arrived.synchronize()
            arrays = mapped(on_host, lambda tensor: tensor.numpy().copy())
            self._places.give_back(place)
            return arrays

        return finish


def kind_of_rows(rows: Group) -> Group:
    """Return the shapes and types of a group's rows."""
    return mapped(rows, lambda tensor: (tuple(tensor.shape[1:]), tensor.dtype))
