"""What a worker process runs on."""

from __future__ import annotations

import pytest
import torch

from worker.engine import process as process_module
from worker.engine.process import WorkerProcess
from worker.settings import Settings


@pytest.mark.parametrize(
    ("place", "gpus", "device", "taken"),
    [
        (0, 4, "auto", "cuda:0"),
        (3, 4, "auto", "cuda:3"),
        (5, 4, "cuda", "cuda:1"),
        (2, 1, "auto", "cuda:0"),
        (2, 4, "cpu", "cpu"),
        (2, 0, "auto", "auto"),
        (2, 0, "cuda", "cuda"),
    ],
)
def test_the_children_of_a_pool_share_out_the_gpus(
    place: int, gpus: int, device: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(process_module, "pool_index", lambda: place)
    assert WorkerProcess(Settings(device=device))._device() == taken  # pyright: ignore[reportArgumentType]
