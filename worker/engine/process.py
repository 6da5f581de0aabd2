"""What a worker process holds: its clients, and the networks it has loaded, each once.

Nothing here runs in the parent of the pool: torch is imported at the first animation of a child, because a forked
child cannot use a CUDA context of its parent, and because Celery kills a child that is slow to start.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from worker import catalog, logs
from worker.errors import ModelUnavailable
from worker.job_queue import pool_index
from worker.job_store import JobStore
from worker.settings import Settings
from worker.storage import Storage, open_storage

if TYPE_CHECKING:
    from model.inference.animator import Animator

_LOADED_AT_ONCE = 2
"""Networks kept on the device; the one used longest ago makes room for a third."""

log = logs.get_logger(__name__)


class WorkerProcess:
    """The state of one process; everything is opened or loaded when it is first asked for."""

    def __init__(self, settings: Settings, when_loaded: Callable[[float], None] = lambda _took_s: None) -> None:
        """`when_loaded` is told how long a network took to load."""
        self.settings = settings
        self._when_loaded = when_loaded
        self._animators: OrderedDict[str, Animator] = OrderedDict()
        self._loading = threading.Lock()

    @cached_property
    def store(self) -> JobStore:
        """The job records. (Opened after the fork: a connection cannot be shared by two processes.)"""
        return JobStore.connect(self.settings)

    @cached_property
    def storage(self) -> Storage:
        """The object storage."""
        return open_storage(self.settings)

    def animator(self, model_name: str) -> Animator:
        """The network `model_name`, loaded onto the device at the first call.

        Raises ModelUnavailable when the bundle is missing or damaged, or the device or precision cannot be had.
        Whoever comes while another thread loads waits for it: its animation may have been canceled, the load goes on.
        """
        with self._loading:
            if model_name not in self._animators:
                while len(self._animators) >= _LOADED_AT_ONCE:
                    self._animators.popitem(last=False)
                self._animators[model_name] = self._load(model_name)
            self._animators.move_to_end(model_name)
            return self._animators[model_name]

    def _device(self) -> str:
        """The device of this process: with several GPUs, the child at place N of the pool takes number N."""
        import torch

        if self.settings.device == "cpu" or not torch.cuda.is_available():
            return self.settings.device
        return f"cuda:{pool_index() % torch.cuda.device_count()}"

    def _load(self, model_name: str) -> Animator:
        started_s = time.monotonic()  # with the import, which is most of it in a new child
        import torch

        from model.bundle import load_bundle
        from model.errors import ModelError
        from model.inference.animator import Animator

        settings = self.settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        folder = catalog.find_model(model_name, settings.model_dirs).folder
        try:
            animator = Animator(
                load_bundle(folder),
                device=self._device(),
                precision=settings.precision,
                compiled=settings.torch_compile,
            )
        except ModelError as error:
            raise ModelUnavailable(error.detail, code=error.code, hint=error.hint) from error
        took_s = time.monotonic() - started_s
        self._when_loaded(took_s)
        log.info(
            "model_loaded",
            model=model_name,
            device=str(animator.device),
            precision=animator.precision,
            load_s=round(took_s, 3),
        )
        return animator


def device_memory() -> tuple[int, int]:
    """Bytes of the GPU's memory that this process's tensors take, and that it holds; zeros without a GPU."""
    torch = sys.modules.get("torch")  # whoever has not loaded it has no memory of a device
    if torch is None or not torch.cuda.is_available():
        return 0, 0
    return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
