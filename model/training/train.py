"""The training loop. Read `run_training` from top to bottom: it is all there is.

Everything random is a function of seed and step, so a run that is cut and resumed equals one that was not: bit for bit
on a CPU.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from model.data.pairs import FramePairs, PairSource
from model.training.checkpoint import FOLDER, latest_checkpoint, load_checkpoint, save_checkpoint
from model.training.errors import TrainingInterrupted
from model.training.journal import Journal, Window
from model.training.learner import Learner
from model.training.place import Place, describe_place
from model.training.run_folder import prepare_run, require_same_run
from model.training.sample_grid import sample_grid
from model.training.settings import TrainConfig, learning_rate_factor, require_schedule

# The time of a step is averaged over about this many.
_PACE_STEPS = 50


class Progress(NamedTuple):
    """Where a run is, after every step."""

    step: int
    num_steps: int
    losses: dict[str, float]
    """Of the last complete window: each term times its weight, and their `total`. Empty at first."""
    seconds_per_step: float
    remaining_s: float


def run_training(
    config: TrainConfig,
    pairs: PairSource,
    output: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    sample_from: PairSource | None = None,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Train until `config.num_steps`, and return the last checkpoint.

    Args:
        config: the run; its number of steps must be known (`TrainConfig.with_clips`).
        pairs: the data. With several processes each asks for batches of `batch_size / processes`.
        output: the run's folder (see `model.training.run_folder`).
        resume: go on from the last checkpoint in `output`, which must be of the same run.
        init_from: a bundle, run, or checkpoint (also a published one) to start from. Ignored when resuming.
        on_progress: called after every step.
        sample_from: where the sample pictures' pairs come from, for example unseen clips; `pairs` if not given.
        facts: what should be told of the run in its checkpoints, for example the data set's name.

    Raises:
        TrainingInterrupted: SIGINT or SIGTERM came; a checkpoint was written.
        TrainingStopped: an alarm; the last checkpoint is good. See `model.training.errors` for the codes.
        TrainingError: the run cannot start.

    """
    require_schedule(config)

    # Place and folder: one device or several, one process that writes.
    place = Place(config.device)
    if place.is_main:
        prepare_run(config, output, resume=resume)
    place.wait()

    # Networks: fresh, or from weights that exist, or as they were.
    learner = Learner(config, place)
    first_step, told = 0, {"seconds": 0.0, **describe_place(place), **(facts or {})}
    if resume:
        checkpoint = load_checkpoint(latest_checkpoint(output))
        require_same_run(checkpoint.config, config, output)
        learner.restore(checkpoint)
        first_step, told = checkpoint.step, checkpoint.facts | told | {"seconds": checkpoint.facts["seconds"]}
    elif init_from is not None:
        told["initialized"] = learner.initialize(init_from)._asdict()
    if learner.objective.perceptual is not None:
        file = learner.objective.perceptual.file
        told["backbone"] = f"{file.path.name} {file.sha256}"
    path = latest_checkpoint(output) if resume else output

    journal = Journal(output, first_step=first_step, writes=place.is_main)
    sample_pairs = (sample_from or pairs).batch(0) if place.is_main else None
    window, clock, losses = Window(), _Clock(), {}
    with _StopRequest() as request, closing(journal):
        for step, batch in _batches(config, place, pairs, first_step):
            # One step of learning.
            terms, drawing = learner.step(step, batch)
            window.add(terms, drawing)
            done = step + 1
            clock.tick()

            # Numbers: read, checked by the alarms, written. Always before a checkpoint, so that a good one stays.
            stopping = place.any(request.received)
            saving = stopping or done == config.num_steps or done % config.checkpoint_every == 0
            if saving or done % config.log_every == 0:
                losses, spread = window.read()
                learner.alarms.check(done, losses, spread)
                rate = config.lr_generator * learning_rate_factor(config, step)
                others = {"spread": spread, "lr": rate, "seconds_per_step": clock.seconds_per_step}
                journal.record(done, losses, others)

            # Pictures.
            if sample_pairs is not None and (done == config.num_steps or done % config.sample_every == 0):
                networks = learner.ema.networks if learner.ema else learner.objective.networks
                journal.show(done, sample_grid(networks, sample_pairs.to(place.device)))

            # Checkpoint.
            if saving and place.is_main:
                spent = {"seconds": told["seconds"] + clock.seconds, "losses": losses}
                state = learner.checkpoint(done, told | spent)
                path = save_checkpoint(output / FOLDER, state, keep=config.keep_checkpoints)
            if on_progress is not None and place.is_main:
                remaining_s = (config.num_steps - done) * clock.seconds_per_step
                on_progress(Progress(done, config.num_steps, losses, clock.seconds_per_step, remaining_s))
            if stopping:
                place.close()
                raise TrainingInterrupted(
                    "interrupted", f"Stopped at step {done}; {path.name} was written.", "Resume it."
                )
    place.close()
    return path


def _batches(config: TrainConfig, place: Place, pairs: PairSource, first_step: int) -> Iterator[tuple[int, FramePairs]]:
    """Yield (step, batch) to the end of the run; `num_workers` processes draw ahead."""
    steps = range(first_step, config.num_steps)
    loader = DataLoader(
        _Draws(pairs),
        batch_size=None,
        sampler=[place.draw_of(step) for step in steps],
        num_workers=config.num_workers,
        pin_memory=config.num_workers > 0 and place.device.type == "cuda",
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # its own: the loader must not take from the run's
    )
    yield from zip(steps, loader, strict=True)


class _Draws(Dataset[FramePairs]):
    """A source of pairs as torch's loader wants it: draw n is batch n."""

    def __init__(self, pairs: PairSource) -> None:
        self._pairs = pairs

    def __getitem__(self, index: int) -> FramePairs:
        return self._pairs.batch(index)


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM to the main process, which still needs its workers for the step it is in.

    Both often go to all processes at once: from a terminal, `timeout`, or whoever ends a session or a batch job.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _StopRequest:
    """Notes SIGINT and SIGTERM instead of dying of them, so that the step can be finished. A second one kills."""

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = True
        signal.signal(number, self._previous[number])


class _Clock:
    """Seconds since the start, and the recent time of a step."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self.seconds_per_step = 0.0
        self._num_steps = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def tick(self) -> None:
        now = time.monotonic()
        self._num_steps += 1
        share = 1 / min(self._num_steps, _PACE_STEPS)
        self.seconds_per_step += share * (now - self._last - self.seconds_per_step)
        self._last = now
