"""How fast the model runs here: `python -m benchmarks.pipeline --bundle NAME`.

A preset's name without an installed bundle means random, seeded weights of that network: the speed is the same. Prints
frames/s, where the time goes, the operations of a frame and what share that is of the machine's peak, measured in the
same run; the last line is JSON. `--against PATH` takes a checkout of the official implementation and runs the same
weights and frames through its own classes a frame at a time, in a process of its own, in turn with ours.
"""

import dataclasses
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.operations import measured_peaks, operations
from benchmarks.opponent import Opponent
from model.bundle import Bundle, load_bundle
from model.bundle_index import BundleInfo, Provenance, find_bundle
from model.config import PRESETS, ModelConfig, MotionTransferOptions
from model.errors import ModelError
from model.inference.animator import Animator
from model.inference.pixels import to_pixels, to_tensor
from model.networks.assembly import Networks, assemble

_SEED = 1
_RESULTS = Path(__file__).parent / "results"
Frames = NDArray[np.uint8]


class Model(NamedTuple):
    """What is measured."""

    config: ModelConfig
    build: Callable[[], Networks]
    """Returns the same networks each time: an animator takes them over."""
    weights: str


def find_model(name: str) -> Model:
    """Return an installed bundle, or a preset's network with random weights."""
    try:
        folder = find_bundle(name)
    except ModelError:
        if name not in PRESETS:
            raise
        config = PRESETS[name]()
        return Model(config, lambda: random_networks(config), f"random, seed {_SEED}")
    return Model(load_bundle(folder).config, lambda: load_bundle(folder).networks, "bundle")


@torch.no_grad()
def random_networks(config: ModelConfig) -> Networks:
    """Return seeded networks whose pictures have contrast: a fresh network's are grey, and any error would be small."""
    torch.manual_seed(_SEED)
    networks = assemble(config)
    detector, generator = networks
    detector.kp.weight.mul_(20)
    if detector.jacobian is not None:
        detector.jacobian.weight.normal_(std=0.01)
    generator.final.weight.mul_(40)
    return networks


def make_frames(size: int, count: int) -> Frames:
    """Return smooth, seeded pictures that move a little from one to the next."""
    generator = np.random.default_rng(_SEED)
    start, end = generator.random((2, 8, 8, 3))
    shares = np.linspace(0, 1, count)[:, None, None, None]
    coarse = torch.from_numpy((start * (1 - shares) + end * shares).astype(np.float32)).permute(0, 3, 1, 2)
    return to_pixels(torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic"))


def make_animator(model: Model, device: str, precision: Any) -> Animator:
    """Return an animator with its own copy of the networks."""
    networks = model.build()
    info = BundleInfo(
        name=model.config.name,
        directory=Path(),
        config=model.config,
        dtype="fp32",
        num_parameters=networks.num_parameters,
        size_bytes=0,
        provenance=Provenance(),
    )
    return Animator(Bundle(info, networks), device, precision)


def animate(animator: Animator, frames: Frames, batch: int) -> Frames:
    """Return the first frame animated by all of them, the source prepared anew as for a job."""
    batches = [frames[start : start + batch] for start in range(0, len(frames), batch)]
    prepared = animator.prepare(frames[0])
    return np.concatenate(list(animator.animate(prepared, batches, MotionTransferOptions())))


def stages(animator: Animator, frames: Frames, rounds: int) -> dict[str, float]:
    """Return milliseconds a frame of each part of a batch (of the source: milliseconds)."""
    networks: Any = animator._networks
    tensor = to_tensor(frames, animator.device)
    source = networks.prepare(tensor[:1])
    driving = networks.detect(tensor)
    motion = networks._dense_motion(source, driving)
    drawn = networks._generator.decode(source, motion)
    parts: dict[str, Callable[[], object]] = {
        "to_tensor": lambda: to_tensor(frames, animator.device),
        "keypoints": lambda: networks.detect(tensor),
        "dense_motion": lambda: networks._dense_motion(source, driving),
        "generator": lambda: networks._generator.decode(source, motion),
        "to_pixels": lambda: to_pixels(drawn),
    }
    result = {name: 1000 * median_s(part, rounds) / len(frames) for name, part in parts.items()}
    return result | {"source_once": 1000 * median_s(lambda: networks.prepare(tensor[:1]), rounds)}


def median_s(work: Callable[[], object], rounds: int) -> float:
    """Return the median time of `work`, after one run that does not count."""
    work()
    return statistics.median(timed(work)[0] for _ in range(rounds))


def timed(work: Callable[[], object]) -> tuple[float, float, Any]:
    """Return wall-clock seconds, CPU seconds of this process, and what `work` returned."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start_s, time.process_time() - start_cpu_s, result


def lowest_psnr(a: Frames, b: Frames) -> float:
    """Return the worst frame's PSNR in dB; 99 where two frames are the same."""
    errors = ((a.astype(float) - b) / 255) ** 2
    return float(min(99.0, -10 * np.log10(max(errors.mean(axis=(1, 2, 3)).max(), 1e-12))))


def compare(model: Model, path: Path, frames: Frames, animator: Animator, batch: int, rounds: int) -> dict[str, Any]:
    """Run ours and the official implementation in turn; its torch samples without aligned corners, so ours does too."""
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        with Opponent(path, model.config, model.build(), frames, Path(folder)) as opponent:
            drawn = animate(animator, frames, batch)
            for _ in range(rounds):
                theirs.append(opponent.run())
                wall_s, cpu_s, _ = timed(lambda: animate(animator, frames, batch))
                ours.append((wall_s, cpu_s))
        expected = opponent.frames()
    median = [[statistics.median(times) for times in zip(*runs, strict=True)] for runs in (ours, theirs)]
    return {
        "align_corners": animator.config.align_corners,
        "official_frames_per_s": len(frames) / median[1][0],
        "frames_per_s": len(frames) / median[0][0],
        "ratio_wall": median[1][0] / median[0][0],
        "ratio_cpu_time": median[1][1] / median[0][1],
        "psnr_db": lowest_psnr(drawn, expected),
    }


def circumstances() -> dict[str, Any]:
    """Return what the figures depend on."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    load = _lines("/proc/loadavg")
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "cpu": names[0] if names else platform.processor(),
        "cores": len(names),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": float(load[0].split()[0]) if load else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def rounded(value: Any) -> Any:
    """Return the figures with three digits after the point, at every depth."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value


@click.command()
@click.option("--bundle", "name", required=True, help="An installed bundle, or a preset for random weights.")
@click.option("--batch", default=4, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="bf16", show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--threads", default=0, help="Threads of torch; 0: its own choice.")
@click.option("--frames", "count", default=16, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The official checkout.")
@click.option("--save/--no-save", default=False, help="Write benchmarks/results/NAME.json.")
def main(
    name: str,
    batch: int,
    precision: str,
    device: str,
    threads: int,
    count: int,
    rounds: int,
    against: Path | None,
    save: bool,
) -> None:
    """Measure the model's pipeline."""
    if threads:
        torch.set_num_threads(threads)
    model = find_model(name)
    if against is not None:
        model = model._replace(config=dataclasses.replace(model.config, align_corners=False))
    frames = make_frames(model.config.frame_size, count)
    animator = make_animator(model, device, precision)
    report: dict[str, Any] = {
        "model": name,
        "weights": model.weights,
        "precision": precision,
        "batch": batch,
        "threads": torch.get_num_threads(),
        "frames": count,
        **circumstances(),
    }
    with torch.inference_mode():
        report["operations_g"] = counted = operations(animator, model.build(), frames[:1])
        report["peaks_gflops"] = peaks = measured_peaks(animator.device, precision, rounds)
        report["ms_a_frame"] = stages(animator, frames[:batch], rounds)
    report["frames_per_s"] = frames_per_s = count / median_s(lambda: animate(animator, frames, batch), rounds)
    # Of the operations that are still done; and as if all that the published network asks for were done (may exceed 1).
    report["share_of_peak"] = counted["remaining"] * frames_per_s / peaks["convolution"]
    report["share_of_peak_as_published"] = counted["plain"] * frames_per_s / peaks["convolution"]
    if against is not None:
        report["against"] = compare(model, against, frames, animator, batch, rounds)
    report = rounded(report)
    for key, value in report.items():
        click.echo(f"{key:26} {value}")
    if save:
        _RESULTS.mkdir(exist_ok=True)
        label = f"pipeline-{name}-{precision}-batch{batch}-threads{report['threads']}"
        (_RESULTS / f"{label}.json").write_text(json.dumps(report, indent=2) + "\n")
    click.echo(json.dumps(report))


if __name__ == "__main__":
    main()
