"""The whole state of a run, on disk and back. A checkpoint appears complete or not at all.

A checkpoint is one file, `step-00001000.pt`: tensors and plain values only, so that it is read with
`weights_only=True`. The networks' sections carry the names of published checkpoints (`kp_detector`, `generator`,
`discriminator`), so a run can be fine-tuned from either kind.
"""

import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.import_original import read_checkpoint
from model.training.errors import TrainingError
from model.training.settings import TrainConfig

FORMAT = "animato-training"
FORMAT_VERSION = 1
FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d{8,})\.pt")

StateDict = dict[str, Tensor]


@dataclass(kw_only=True, slots=True)
class Checkpoint:
    """Everything that the next step depends on, and what tells people where the weights come from."""

    config: TrainConfig
    step: int
    """Batches seen."""
    kp_detector: StateDict
    generator: StateDict
    discriminator: StateDict | None = None
    optimizers: dict[str, Any] = field(default_factory=dict)
    """State of each Adam, by the part it trains. Learning rates are a function of the step: nothing to keep."""
    ema: dict[str, StateDict] | None = None
    random_state: dict[str, Any] = field(default_factory=dict)
    alarms: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """Hardware, versions, data, seconds spent: told, never interpreted."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint and remove all but the newest `keep`. What was there before stays until the new one is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step:08d}.pt"
    values = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, **values, "config": checkpoint.config.to_dict()}
    partial = folder / f".{path.name}.partial"
    try:
        with partial.open("wb") as file:
            _write(document, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # What torch says when a write fails hides why it failed.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror or str(cause), str(path)) from error
        raise
    _flush_folder(folder)
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; tensors are in memory.

    Raises `CheckpointError` for a file that cannot be read, `TrainingError` with code `run_mismatch` for one that holds
    something else.
    """
    try:
        document = read_checkpoint(path)
    except CheckpointError as error:
        if error.code != "checkpoint_truncated":
            raise
        # Nowhere to download it from: it is ours.
        hint = "Remove it: of the run's checkpoints the newest is used."
        raise CheckpointError(error.code, error.detail, hint) from error
    if document.get("format") != FORMAT or document.get("format_version") != FORMAT_VERSION:
        raise TrainingError("run_mismatch", f"{path.name} is not a checkpoint of this program's training.")
    values: dict[str, Any] = {name: document[name] for name in Checkpoint.__dataclass_fields__ if name in document}
    try:
        values["config"] = TrainConfig.from_dict(document["config"])
        return Checkpoint(**values)
    except (KeyError, TypeError) as error:
        raise TrainingError("run_mismatch", f"{path.name} is incomplete: {error}.") from error


def list_checkpoints(folder: Path) -> list[Path]:
    """Return complete checkpoints, oldest first."""
    found = [path for path in folder.glob("step-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))


def latest_checkpoint(path: Path) -> Path:
    """Return `path` itself if it is a file, or the newest checkpoint of the run folder `path`.

    Raises `TrainingError` with code `run_not_found`.
    """
    if path.is_file():
        return path
    found = list_checkpoints(path / FOLDER) or list_checkpoints(path)
    if not found:
        raise TrainingError("run_not_found", f"{path} has no checkpoint.", "Has the run reached its first one?")
    return found[-1]


def read_random_state() -> dict[str, Any]:
    """Return the state of every generator of random numbers, as tensors and plain values."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {"python": [version, list(words), gauss], "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put back what `read_random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def _write(document: Mapping[str, Any], file: BinaryIO) -> None:
    torch.save(document, file)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last; not every file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
