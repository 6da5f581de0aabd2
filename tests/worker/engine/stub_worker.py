"""The real worker with another network: it gives the driving frames back, and fails as the model's name says.

    celery -A tests.worker.engine.stub_worker worker

Everything else is what production runs: Celery, the task, storage, decoding, encoding, the records.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worker import catalog
from worker.engine import tasks

queue = tasks.queue


class Behaviour:
    """What the network of one name does with each batch."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder

    def __call__(self, batch: np.ndarray) -> None:
        getattr(self, f"_{self._name}")(batch)

    def _copy(self, _batch: np.ndarray) -> None:
        pass

    def _fault_once(self, _batch: np.ndarray) -> None:
        import torch

        if not self._seen("fault"):
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    def _poison(self, _batch: np.ndarray) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _memory_for_one(self, batch: np.ndarray) -> None:
        import torch

        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def _slow(self, _batch: np.ndarray) -> None:
        self._seen("slow")
        while not (self._folder / "go").exists():
            time.sleep(0.02)

    def _seen(self, name: str) -> bool:
        """Whether this was called before with `name`, in whichever process."""
        path = self._folder / name
        seen = path.exists()
        path.touch()
        return seen


def _animator(model_name: str) -> Any:
    # Imported here: the parent of the pool never imports torch.
    from tests.worker.engine.copying_animator import CopyingAnimator

    return CopyingAnimator(Behaviour(model_name.replace("-", "_"), tasks.settings.data_dir))


def _found(_model_name: str, folders: Sequence[Path]) -> catalog.ModelFacts:
    return catalog.find_model("avatars-256", folders)


tasks.process.animator = _animator
tasks.find_model = _found  # results say which bundle made them
