"""Where a run runs: one device, or one process on each of several (Hugging Face Accelerate: DDP and SyncBatchNorm).

Several processes are started by `accelerate launch` or `torchrun`; each draws its own share of every batch.
"""

import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed import is_torchelastic_launched

from model.devices import multiplies_in_bf16
from model.errors import DeviceError
from model.training.errors import TrainingError
from model.training.settings import Device, TrainConfig

M = TypeVar("M", bound=nn.Module)


class Place:
    """The device of this process, and its place among the others."""

    def __init__(self, device: Device = "auto") -> None:
        self._accelerator: Any = _accelerator(device) if is_torchelastic_launched() else None
        self.device: torch.device = self._accelerator.device if self._accelerator else _one_device(device)
        # Frames have one size throughout a run, so that searching for the fastest convolution pays.
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        self.rank: int = self._accelerator.process_index if self._accelerator else 0
        self.world_size: int = self._accelerator.num_processes if self._accelerator else 1

    @property
    def is_main(self) -> bool:
        """Return whether this is the one process that writes files."""
        return self.rank == 0

    def share(self, config: TrainConfig) -> int:
        """Return how many pairs of every batch are this process's.

        Raises `TrainingError` with code `batch_mismatch` if the batch cannot be shared evenly.
        """
        if config.batch_size % self.world_size:
            raise TrainingError(
                "batch_mismatch", f"A batch of {config.batch_size} cannot be shared by {self.world_size} processes."
            )
        return config.batch_size // self.world_size

    def draw_of(self, step: int) -> int:
        """Return under which number this process draws data and warps for a step: no two draw the same."""
        return step * self.world_size + self.rank

    def distribute(self, module: M) -> M:
        """Return the module so wrapped that a backward pass averages gradients over all processes."""
        if self.world_size == 1:
            return module
        if self.device.type == "cuda":  # on a CPU torch has no synchronised batch norm
            nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return self._accelerator.prepare(module)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is up in any process; they must all stop at the same step."""
        if self.world_size == 1:
            return flag
        return bool(self._accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum").item() > 0)

    def wait(self) -> None:
        """Wait for the others."""
        if self.world_size > 1:
            self._accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the group of processes."""
        if self.world_size > 1:
            self._accelerator.end_training()


def as_fast_as(device: torch.device, config: TrainConfig) -> TrainConfig:
    """Return the run in float32 if the device would only emulate bfloat16, which presets ask for because it is fast."""
    if "bf16" not in (config.precision, config.keypoint_precision) or multiplies_in_bf16(device):
        return config
    return replace(config, precision="fp32", keypoint_precision="fp32")


def describe_place(place: Place) -> dict[str, Any]:
    """Return the facts about this machine that belong beside a result."""
    name = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else _processor()
    return {
        "device": name,
        "processes": place.world_size,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _accelerator(device: Device) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError:
        raise TrainingError(
            "extra_not_installed", "Training in several processes needs Accelerate.", "pip install 'animato[train]'"
        ) from None
    # Buffers agree already: synchronised norms see every batch, and spectral norms follow from the weights.
    return Accelerator(
        cpu=device == "cpu", kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)], log_with=None
    )


def _one_device(device: Device) -> torch.device:
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise DeviceError("device_unavailable", "There is no CUDA device here.", "Use device=cpu, or auto.")
    return torch.device("cuda", 0) if available and device != "cpu" else torch.device("cpu")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
