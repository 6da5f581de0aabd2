"""A run's folder, and how a run is described before it begins.

run.json         the configuration, complete
metrics.jsonl    one line for each window of steps: means of the loss terms, learning rate, time
checkpoints/     the last few `step-*.pt`
samples/         a picture every now and then
tensorboard/     the same, for TensorBoard, where it is installed
"""

import json
from pathlib import Path

from model.errors import ConfigError
from model.training.checkpoint import FOLDER, list_checkpoints
from model.training.errors import TrainingError
from model.training.settings import TrainConfig, resumable_difference

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
SAMPLES_FOLDER = "samples"
TENSORBOARD_FOLDER = "tensorboard"


def prepare_run(config: TrainConfig, output: Path, *, resume: bool = False) -> Path:
    """Create the folder and write `run.json`: all that a dry run does.

    Raises `TrainingError`: `run_exists` if there is a run with checkpoints and `resume` was not asked for;
    `run_not_found` if there is none to resume; `run_mismatch` if it was another run.
    """
    has_checkpoints = bool(list_checkpoints(output / FOLDER))
    if has_checkpoints and not resume:
        raise TrainingError("run_exists", f"There is a run in {output} already.", "Resume it, or name another folder.")
    if resume and not has_checkpoints:
        raise TrainingError("run_not_found", f"There is no run to resume in {output}.")
    if resume:
        require_same_run(read_run(output), config, output)
    output.mkdir(parents=True, exist_ok=True)
    path = output / RUN_FILE
    partial = output / f".{RUN_FILE}.partial"
    partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def require_same_run(old: TrainConfig, new: TrainConfig, output: Path) -> None:
    """Raise `TrainingError` with code `run_mismatch` if resuming would make it another run."""
    difference = resumable_difference(old, new)
    if difference:
        raise TrainingError(
            "run_mismatch",
            f"The run in {output} differs in {difference}.",
            "A resumed run may change its steps, intervals, workers and device only; start from it with init_from.",
        )


def read_run(output: Path) -> TrainConfig:
    """Return the configuration of the run in a folder.

    Raises `TrainingError` with code `run_not_found`, or `ConfigError`.
    """
    try:
        values = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError("run_not_found", f"There is no run in {output}.") from None
    except ValueError as error:
        raise ConfigError("config_invalid", f"{output / RUN_FILE} is not JSON: {error}.") from None
    return TrainConfig.from_dict(values)
