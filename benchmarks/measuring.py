"""What the benchmarks share: a model to measure, frames, clocks, and the circumstances that a figure depends on."""

import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import Bundle, load_bundle
from model.bundle_index import BundleInfo, Provenance, find_bundle
from model.config import PRESETS, ModelConfig, MotionTransferOptions
from model.errors import ModelError
from model.inference.animator import Animator
from model.inference.pixels import to_pixels
from model.networks.assembly import Networks, assemble

_SEED = 1
RESULTS = Path(__file__).parent / "results"
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


def as_bundle(model: Model) -> Bundle:
    """Return a bundle with its own copy of the networks, from no folder."""
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
    return Bundle(info, networks)


def make_animator(model: Model, device: str, precision: Any) -> Animator:
    """Return an animator with its own copy of the networks."""
    return Animator(as_bundle(model), device, precision)


def animate(animator: Animator, frames: Frames, batch: int) -> Frames:
    """Return the first frame animated by all of them, the source prepared anew as for a job."""
    batches = [frames[start : start + batch] for start in range(0, len(frames), batch)]
    prepared = animator.prepare(frames[0])
    return np.concatenate(list(animator.animate(prepared, batches, MotionTransferOptions())))


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
