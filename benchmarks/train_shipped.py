"""Train the bundle that ships, within a given time: `python -m benchmarks.train_shipped --seconds 480 -o OUT`.

For a GPU that is at hand for a short while (without one it does the same, slowly). Three things at once: the GPU draws
avatars until enough are there to begin; meanwhile, and while the motion is learned at 64 pixels, all but two of the
processor's cores draw more; with those the network is grown to 256 pixels. How many steps fit is measured first.

After each stage OUT has the bundle, its losses and a picture; OUT appears at once and is kept whatever fails later. A
stage that ends early, for whatever reason, is exported as far as it came.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import click
import torch
from safetensors.torch import load_file, save_file

from benchmarks.scratch import scratch_folder
from model.config import ModelConfig
from model.data.avatar_pool import GROUP_IDENTITIES, DrawnGroups, draw_groups
from model.data.avatars import AVATARS, AvatarPairs
from model.export import export_bundle
from model.training.checkpoint import latest_checkpoint
from model.training.errors import TrainingError, TrainingInterrupted
from model.training.launch import pool_of
from model.training.learner import Learner
from model.training.place import Place, as_fast_as
from model.training.presets import PRESETS
from model.training.settings import TrainConfig
from model.training.train import Progress, run_training
from worker.terminal import counter

_SIZE = 256
_CHUNK = 16
"""Groups in a file of drawn ones."""
_FIRST_OF_CPU = 1_000_000
"""Numbers of the groups that the processor draws: others than the device's."""
_SPARED_CORES = 2
_MOTION_SHARE = 0.42
_TRIAL_STEPS = 12
_SLACK_S = 12.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One run: a preset, what is different in it, and what share of the time that is left it may take."""

    preset: str
    batch_size: int
    lr: float
    share: float


STAGES = (
    Stage(preset="avatars-64", batch_size=96, lr=3e-4, share=_MOTION_SHARE),
    Stage(preset="avatars-256", batch_size=32, lr=2.5e-4, share=1.0),
)


def widened(model: ModelConfig, keypoints: int, width: int) -> ModelConfig:
    """Return the network with other numbers of keypoints and of channels of its two hourglasses."""
    most = 16 * width
    detector = replace(model.keypoint_detector, block_expansion=width, max_features=most)
    dense_motion = replace(model.generator.dense_motion, block_expansion=width, max_features=most)
    generator = replace(model.generator, dense_motion=dense_motion)
    return replace(model, num_keypoints=keypoints, keypoint_detector=detector, generator=generator)


def draw_chunks(folder: Path, worker: int, workers: int, most: int) -> None:
    """Draw chunks of groups into files, one after the other. Runs in its own process, and not longer than the first."""
    torch.set_num_threads(1)
    os.nice(5)
    first_process = parent_process()
    for chunk in range(worker, most, workers):
        if first_process is not None and not first_process.is_alive():  # killed: it could not stop us
            return
        first = _FIRST_OF_CPU + chunk * _CHUNK
        partial = folder / f".{chunk}.safetensors"
        save_file(draw_groups(range(first, first + _CHUNK), _SIZE)._asdict(), partial)
        partial.rename(folder / f"{chunk}.safetensors")


@contextmanager
def drawing_on(chunks: Path, most: int) -> Iterator[None]:
    """Inside the block, the processor's spare cores draw up to so many chunks into a folder."""
    workers = max(1, (os.cpu_count() or 1) - _SPARED_CORES - 1)
    context = get_context("spawn")
    drawers: list[BaseProcess] = []
    try:
        for worker in range(workers):
            drawers.append(context.Process(target=draw_chunks, args=(chunks, worker, workers, most), daemon=True))
            drawers[-1].start()
        yield
    finally:
        started = [drawer for drawer in drawers if drawer.pid is not None]
        for drawer in started:
            drawer.terminate()  # what it has begun is of no use any more
        for drawer in started:
            drawer.join()


def collect(folder: Path, device: torch.device) -> list[DrawnGroups]:
    """Take what is drawn so far to the device, and forget the files."""
    found = []
    for path in sorted(folder.glob("[0-9]*.safetensors"), key=lambda path: int(path.stem)):
        drawn = DrawnGroups(**load_file(path))
        found.append(drawn._replace(frames_GIPCHW=drawn.frames_GIPCHW.to(device)))
        path.unlink()
    return found


def joined(parts: Sequence[DrawnGroups]) -> DrawnGroups:
    """Return all groups as one pool."""
    return DrawnGroups(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def measured_step_s(config: TrainConfig, drawn: DrawnGroups) -> float:
    """Return what a step takes, in seconds, from steps of a run that is thrown away."""
    place = Place(config.device)
    learner, pool = Learner(config, place), pool_of(config, drawn, config.batch_size)
    for step in range(_TRIAL_STEPS):  # convolutions are tried out, the graph is captured
        learner.step(step, pool.batch(step))
    started_s = _now(place.device)
    for step in range(_TRIAL_STEPS):
        learner.step(step, pool.batch(step))
    return (_now(place.device) - started_s) / _TRIAL_STEPS


def train_stage(
    stage: Stage, model: dict[str, int], drawn: DrawnGroups, work: Path, until_s: float, init: Path | None
) -> tuple[Path, bool]:
    """Train one stage until about `until_s` (of the monotonic clock).

    Returns the run's folder, and whether somebody wanted an end of it all (Ctrl-C, SIGTERM).
    """
    preset = PRESETS[stage.preset]()
    config = replace(
        preset,
        model=widened(preset.model, **model),
        batch_size=stage.batch_size,
        lr_generator=stage.lr,
        lr_keypoint_detector=stage.lr,
        num_workers=0,
        num_steps=_TRIAL_STEPS,
        data=AVATARS,
        avatar_pool=GROUP_IDENTITIES * len(drawn.frames_GIPCHW),
    )
    config = as_fast_as(Place(config.device).device, config)
    step_s = measured_step_s(config, drawn)
    steps = max(4, int((until_s - time.monotonic() - _SLACK_S / 2) / step_s))
    often = max(1, steps // 60)
    config = replace(
        config, num_steps=steps, log_every=often, sample_every=max(1, steps // 3), checkpoint_every=max(1, steps // 4)
    )
    click.echo(f"{stage.preset}: {1000 * step_s:.1f} ms a step, {steps} steps of {config.batch_size} pairs")
    stopped: list[int] = []

    def watch(progress: Progress) -> None:
        if progress.step % often == 0:
            terms = "  ".join(f"{name} {value:.3g}" for name, value in progress.losses.items())
            click.echo(f"{stage.preset} {progress.step}/{steps}  {terms}")
        if time.monotonic() > until_s + _SLACK_S and not stopped:  # as Ctrl-C would, once
            stopped.append(progress.step)
            signal.raise_signal(signal.SIGINT)

    run, unseen = work / stage.preset, AvatarPairs(config.model.frame_size, 8, split="test")
    facts = {"data": AVATARS, "groups": len(drawn.frames_GIPCHW)}
    try:
        run_training(
            config,
            pool_of(config, drawn, config.batch_size),
            run,
            init_from=init,
            on_progress=watch,
            sample_from=unseen,
            facts=facts,
        )
    except (TrainingError, RuntimeError) as error:  # what it learned until then is in its last checkpoint
        click.echo(f"{stage.preset} ended early: {error}", err=True)
        return run, isinstance(error, TrainingInterrupted) and not stopped
    return run, False


def keep(run: Path, output: Path) -> None:
    """Put the run's last checkpoint, bundle, losses and newest picture into the output folder, the surest first."""
    name = run.name
    shutil.copy(run / "metrics.jsonl", output / f"{name}.jsonl")
    for picture in sorted((run / "samples").glob("*.png"))[-1:]:
        shutil.copy(picture, output / f"{name}.png")
    for half in (True, False):
        bundle = output / (name if half else f"{name}-fp32")
        try:
            export_bundle(run, bundle, half=half)
            return
        except (TrainingError, RuntimeError, OSError) as error:
            click.echo(f"{bundle.name} cannot be exported: {error}", err=True)
    shutil.copy(latest_checkpoint(run), output / f"{name}.checkpoint")


@click.command()
@click.option("--seconds", type=float, required=True, help="All of it, drawing and export included.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--keypoints", type=click.IntRange(1), default=16, show_default=True)
@click.option("--width", type=click.IntRange(4), default=24, show_default=True, help="Of the hourglasses' first level.")
@click.option("--groups", type=click.IntRange(1), default=1024, show_default=True, help="Drawn before the first step.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def main(seconds: float, output: Path, keypoints: int, width: int, groups: int, device: str) -> None:
    """Train avatars-64, then avatars-256, within SECONDS."""
    deadline_s = time.monotonic() + seconds
    output.mkdir(parents=True)
    place = Place(device)  # type: ignore[arg-type]
    torch.set_num_threads(_SPARED_CORES)
    with scratch_folder() as work:
        chunks = work / "chunks"
        chunks.mkdir()
        with drawing_on(chunks, 8 * groups // _CHUNK):
            parts = [draw_groups(range(groups), _SIZE, device=place.device, on_progress=counter("Drawing avatars"))]
            init: Path | None = None
            for stage in STAGES:
                drawn = joined(parts := [*parts, *collect(chunks, place.device)])
                parts = [drawn]
                left_s = deadline_s - time.monotonic() - _SLACK_S
                until_s = time.monotonic() + stage.share * left_s
                run, ended = train_stage(stage, {"keypoints": keypoints, "width": width}, drawn, work, until_s, init)
                keep(run, output)
                if ended:
                    raise SystemExit(130)
                init = run


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()


if __name__ == "__main__":
    main()
