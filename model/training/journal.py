"""What a run writes down while it runs: `metrics.jsonl` always, TensorBoard where it is installed, sample pictures.

Losses are summed on the device and read once for each window of steps, so that a GPU need not wait for every step.
"""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.training.objective import Drawing, LossTerms
from model.training.run_folder import METRICS_FILE, SAMPLES_FOLDER, TENSORBOARD_FOLDER

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger("animato.train")


class Window:
    """Sums of the loss terms and of the keypoints' spread over some steps."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.num_steps = 0

    @torch.no_grad()
    def add(self, terms: LossTerms, drawing: Drawing) -> None:
        """Count one step in. Nothing waits for the device."""
        values = {name: term for name, term in terms._asdict().items() if term is not None}
        values["total"] = terms.total()
        # The standard deviation of each frame's keypoints: zero when all of them are in one place.
        values["spread"] = drawing.driving.positions_BK2.std(dim=1, correction=0).mean()
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self.num_steps += 1

    def read(self) -> tuple[dict[str, float], float]:
        """Return the means of the terms (and of `total`) and of the spread, and begin anew."""
        means = {name: value.item() / self.num_steps for name, value in self._sums.items()}
        self._sums, self.num_steps = {}, 0
        return means, means.pop("spread")


class Journal:
    """The files that a run writes beside its checkpoints. Only the main process has one that writes."""

    def __init__(self, output: Path, *, first_step: int, writes: bool) -> None:
        self._output = output
        self._writes = writes
        self._tensorboard: Any = None
        if not writes:
            return
        (output / SAMPLES_FOLDER).mkdir(exist_ok=True)
        _forget_after(output / METRICS_FILE, first_step)
        self._tensorboard = _tensorboard(output / TENSORBOARD_FOLDER, first_step)

    def record(self, step: int, losses: dict[str, float], others: dict[str, float]) -> None:
        """Write one line of metrics."""
        if not self._writes:
            return
        row = {"step": step} | {name: float(f"{value:.6g}") for name, value in (losses | others).items()}
        with (self._output / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._tensorboard is not None:
            for name, value in losses.items():
                self._tensorboard.add_scalar(f"loss/{name}", value, step)
            for name, value in others.items():
                self._tensorboard.add_scalar(f"run/{name}", value, step)

    def show(self, step: int, picture: "Image") -> None:
        """Keep a sample picture."""
        if not self._writes:
            return
        import numpy as np

        picture.save(self._output / SAMPLES_FOLDER / f"step-{step:08d}.png")
        if self._tensorboard is not None:
            self._tensorboard.add_image("samples", np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._tensorboard is not None:
            self._tensorboard.close()


def _forget_after(path: Path, step: int) -> None:
    """Drop lines of steps that will be run again: those after the checkpoint that is resumed."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _tensorboard(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning(
            "TensorBoard is not installed; metrics.jsonl and samples/ have the same. pip install 'animato[train]'"
        )
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None, flush_secs=30)
