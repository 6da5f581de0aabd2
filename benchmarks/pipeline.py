"""How fast the model runs here: `python -m benchmarks.pipeline --bundle NAME`.

A preset's name without an installed bundle means random, seeded weights of that network: the speed is the same. Prints
frames/s, where the time goes, the operations of a frame and what share that is of the machine's peak, measured in the
same run; the last line is JSON. `--against PATH` takes a checkout of the official implementation and runs the same
weights and frames through its own classes a frame at a time, in a process of its own, in turn with ours.
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import (
    RESULTS,
    Frames,
    Model,
    animate,
    circumstances,
    find_model,
    lowest_psnr,
    make_animator,
    make_frames,
    median_s,
    rounded,
    timed,
)
from benchmarks.operations import measured_peaks, operations
from benchmarks.opponent import Opponent
from benchmarks.scratch import scratch_folder
from model.inference.animator import Animator
from model.inference.pixels import to_pixels, to_tensor


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


def roofline(
    animator: Animator, frames: Frames, batch: int, counted: dict[str, float], peaks: dict[str, float], fp32_peak: float
) -> dict[str, Any]:
    """Return how fast it could be if all that is not a product took no time, and what takes the time instead (CPU).

    `ceiling_frames_per_s`: every product at the peak of its own type. `ms_a_frame`: convolutions and matrix products,
    and the largest of the rest, as torch's profiler sees them; the source once for all `frames`.
    """
    products_g = counted["remaining"] - counted["keypoints"] + counted["source_once"] / len(frames)
    ceiling_s = products_g / peaks["convolution"] + counted["keypoints"] / fp32_peak
    animate(animator, frames, batch)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        animate(animator, frames, batch)
    spent_ms: dict[str, float] = {}
    for event in profiler.key_averages():
        kind = "products" if any(sign in event.key for sign in ("convolution", "mm")) else event.key
        spent_ms[kind] = spent_ms.get(kind, 0.0) + event.self_cpu_time_total / 1000 / len(frames)
    products_ms = spent_ms.pop("products")
    rest = sorted(spent_ms.items(), key=lambda item: item[1], reverse=True)
    return {
        "ceiling_frames_per_s": 1 / ceiling_s,
        "products_share_of_peak": 1000 * ceiling_s / products_ms,
        "ms_a_frame": {"products": products_ms, "rest": sum(spent_ms.values()), **dict(rest[:8])},
    }


def compare(model: Model, path: Path, frames: Frames, animator: Animator, batch: int, rounds: int) -> dict[str, Any]:
    """Run ours and the official implementation in turn; its torch samples without aligned corners, so ours does too."""
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with scratch_folder() as folder:
        device = str(animator.device)
        with Opponent(path, model.config, model.build(), frames, folder, device) as opponent:
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


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description="Measure the model's pipeline.")
    parser.add_argument("--bundle", required=True, help="An installed bundle, or a preset for random weights.")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="bf16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="Threads of torch; 0: its own choice.")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="A checkout of the official implementation.")
    parser.add_argument("--save", action="store_true", help="Write benchmarks/results/NAME.json.")
    return parser.parse_args()


def main() -> None:
    """Measure the model's pipeline."""
    given = options()
    report = rounded(measure(given))
    for key, value in report.items():
        print(f"{key:26} {value}")
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        label = f"pipeline-{given.bundle}-{given.precision}-batch{given.batch}-threads{report['threads']}"
        (RESULTS / f"{label}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    if given.threads:
        torch.set_num_threads(given.threads)
    model = find_model(given.bundle)
    if given.against is not None:
        model = model._replace(config=dataclasses.replace(model.config, align_corners=False))
    frames = make_frames(model.config.frame_size, given.frames)
    animator = make_animator(model, given.device, given.precision)
    report: dict[str, Any] = {
        "model": given.bundle,
        "weights": model.weights,
        "precision": given.precision,
        "batch": given.batch,
        "threads": torch.get_num_threads(),
        "frames": given.frames,
        **circumstances(),
    }
    with torch.inference_mode():
        report["operations_g"] = counted = operations(animator, model.build(), frames[:1])
        report["peaks_gflops"] = peaks = measured_peaks(animator.device, given.precision, given.rounds)
        report["ms_a_frame"] = stages(animator, frames[: given.batch], given.rounds)
        if animator.device.type == "cpu":
            fp32 = measured_peaks(animator.device, "fp32", given.rounds)["convolution"]
            report["roofline"] = roofline(animator, frames, given.batch, counted, peaks, fp32)
    times_s = median_s(lambda: animate(animator, frames, given.batch), given.rounds)
    report["frames_per_s"] = frames_per_s = given.frames / times_s
    # Of the operations that are still done; and as if all that the published network asks for were done (may exceed 1).
    report["share_of_peak"] = counted["remaining"] * frames_per_s / peaks["convolution"]
    report["share_of_peak_as_published"] = counted["plain"] * frames_per_s / peaks["convolution"]
    if given.against is not None:
        report["against"] = compare(model, given.against, frames, animator, given.batch, given.rounds)
    return report


if __name__ == "__main__":
    main()
