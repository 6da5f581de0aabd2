"""The stages of `benchmarks.gpu_check`, each called as `python -m benchmarks.gpu_stages STAGE --output FOLDER`."""

import argparse
import dataclasses
import json
import statistics
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_measuring import animate, latency, make, memory, on_device_only, peaks, quality, speed, ways
from benchmarks.measuring import (
    Model,
    circumstances,
    find_model,
    lowest_psnr,
    make_frames,
    random_networks,
    rounded,
    timed,
)
from benchmarks.opponent import Opponent
from benchmarks.scratch import scratch_folder
from model.inference import cuda_kernels

_MODELS = ["vox-256", "avatars-256"]


def _model(name: str, given: argparse.Namespace) -> Model:
    """Return the model; with `--tiny`, of the published one only a sketch."""
    model = find_model(name)
    if not given.tiny or name != "vox-256":
        return model
    own, detector, dense = model.config.generator, model.config.keypoint_detector, model.config.generator.dense_motion
    small = {"block_expansion": 8, "max_features": 16}
    config = dataclasses.replace(
        model.config,
        keypoint_detector=dataclasses.replace(detector, **small),
        generator=dataclasses.replace(
            own, **small, num_bottleneck_blocks=2, dense_motion=dataclasses.replace(dense, **small)
        ),
    )
    return Model(config, lambda: random_networks(config), "random")


def _half(given: argparse.Namespace) -> str:
    """Return bf16, which few CPUs compute in."""
    return "fp32" if given.device == "cpu" else "bf16"


class Notes:
    """Results by name: each printed and written at once; a step that fails is noted as such."""

    def __init__(self, stage: str, given: argparse.Namespace) -> None:
        self._file = given.output / f"{stage}.json"
        self._deadline_s = time.monotonic() + given.budget
        self.results: dict[str, Any] = {"circumstances": circumstances()}

    def take(self, name: str, work: Callable[..., Any], *arguments: Any) -> None:
        """Do one step, if there is time."""
        if time.monotonic() > self._deadline_s:
            self._note(name, "no time left", 0)
            return
        started_s = time.monotonic()
        try:
            result = work(*arguments)
        except Exception as error:
            traceback.print_exc()
            self._note(name, f"failed: {type(error).__name__}: {error}"[:500], time.monotonic() - started_s)
            return
        self._note(name, result, time.monotonic() - started_s)

    def _note(self, name: str, result: Any, took_s: float) -> None:
        self.results[name] = rounded(result)
        print(f"{name:44} {self.results[name]}   [{took_s:.1f} s]", flush=True)
        self._file.write_text(json.dumps(self.results, indent=2) + "\n")


def vox_stage(notes: Notes, given: argparse.Namespace) -> None:
    """The card's peaks; then frames/s, PSNR and latency of the published network."""
    device = torch.device(given.device)
    for precision in ("bf16", "fp16", "fp32") if given.device != "cpu" else ("fp32",):
        notes.take(f"peaks {precision} (GFLOP/s)", peaks, device, precision, given.tiny)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        notes.take(f"kernels {dtype}", cuda_kernels.compiled_kernels, device, dtype)
    _one_model(notes, "vox-256", given)


def avatars_stage(notes: Notes, given: argparse.Namespace) -> None:
    """Frames/s, PSNR and latency of the bundle that is shipped."""
    _one_model(notes, "avatars-256", given)


def _one_model(notes: Notes, name: str, given: argparse.Namespace) -> None:
    model = _model(name, given)
    batches = [1, 2] if given.tiny else [1, 8, 16, 32, 64]
    middle = batches[-2]
    frames = make_frames(model.config.frame_size, 4 if given.tiny else 512)
    few = frames[:64]
    reference = make(model, given.device, "fp32", plain=True)
    expected = animate(reference, few, middle)
    notes.take(f"{name} plain fp32 batch 1", speed, reference, few, 1)
    fast = make(model, given.device, _half(given))
    for batch in batches:
        notes.take(f"{name} bf16 graphs batch {batch}", speed, fast, frames[: max(64, 8 * batch)], batch)
        if given.device != "cpu":
            notes.take(f"{name} bf16 graphs batch {batch} device", on_device_only, fast, frames, batch)
    notes.take(f"{name} bf16 PSNR", quality, fast, few, middle, expected)
    for batch in (1, 8):
        notes.take(f"{name} first frame, batch {batch}", latency, fast, frames, batch)
    del fast
    notes.take(f"{name} memory (MiB)", memory)
    halved = make(model, given.device, _half(given), plain=True)
    notes.take(f"{name} plain bf16 batch {middle}", speed, halved, frames[: 4 * middle], middle)
    notes.take(f"{name} plain bf16 PSNR", quality, halved, few, middle, expected)
    kinds: dict[str, dict[str, Any]] = {
        "bf16 exact keypoints": {"precision": "bf16", "tf32": False},
        "bf16 no graphs": {"precision": "bf16", "graphs": False},
        "fp16 graphs": {"precision": "fp16"},
        "fp32 graphs": {"precision": "fp32"},
        "fp32 tf32 graphs": {"precision": "fp32", "tf32": True},
    }
    for kind, settings in kinds.items():
        if given.device == "cpu" and settings["precision"] != "fp32":
            continue
        own = make(model, given.device, **settings)
        for batch in [1, middle] if "no graphs" in kind else [middle]:
            notes.take(f"{name} {kind} batch {batch}", speed, own, frames[: max(64, 8 * batch)], batch)
        notes.take(f"{name} {kind} PSNR", quality, own, few, middle, expected)


def against_stage(notes: Notes, given: argparse.Namespace) -> None:
    """The official implementation, frame by frame, in turn with ours."""
    model = _model("vox-256", given)
    model = model._replace(config=dataclasses.replace(model.config, align_corners=False))
    frames = make_frames(model.config.frame_size, 4 if given.tiny else 64)
    batch = 2 if given.tiny else 32
    ours = make(model, given.device, _half(given))
    with scratch_folder() as folder:
        with Opponent(given.against, model.config, model.build(), frames, folder, given.device) as opponent:
            drawn = animate(ours, frames, batch)
            theirs_s, ours_s = [], []
            for _ in range(1 if given.tiny else 3):
                theirs_s.append(opponent.run()[0])
                ours_s += [timed(lambda: animate(ours, frames, batch))[0] for _ in range(3)]
        expected = opponent.frames()
    theirs, own = (len(frames) / statistics.median(times) for times in (theirs_s, ours_s))
    notes.take("official frames/s (fp32, TF32 as torch has it)", float, theirs)
    notes.take(f"ours frames/s (bf16, batch {batch})", float, own)
    notes.take("ratio", float, own / theirs)
    notes.take("PSNR", lowest_psnr, drawn, expected)


def profile_stage(notes: Notes, given: argparse.Namespace) -> None:
    """Which kernels the time goes to, and what the alternatives cost."""
    device = torch.device(given.device)
    batch = 2 if given.tiny else 32
    for name in _MODELS:
        model = _model(name, given)
        animator = make(model, given.device, _half(given), **({"graphs": False} if device.type == "cuda" else {}))
        frames = make_frames(model.config.frame_size, batch)
        animate(animator, frames, batch)
        kinds = [torch.profiler.ProfilerActivity.CUDA if device.type == "cuda" else torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=kinds) as profile:
            animate(animator, frames, batch)
        order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
        table = profile.key_averages().table(sort_by=order, row_limit=45, max_name_column_width=110)
        (given.output / f"profile-{name}.txt").write_text(table)
        print(table, flush=True)
        notes.take(f"{name} profiled", str, f"profile-{name}.txt")
    if device.type == "cuda":
        for precision in (torch.bfloat16, torch.float16):
            notes.take(f"a convolution and its ReLU (ms, {precision})", ways, device, precision)


def compile_stage(notes: Notes, given: argparse.Namespace) -> None:
    """The same with torch.compile, which has to compile each batch size."""
    batch = 2 if given.tiny else 32
    for name in _MODELS:
        model = _model(name, given)
        frames = make_frames(model.config.frame_size, 4 if given.tiny else 512)
        own = make(model, given.device, _half(given), **({"compiled": True} if given.device != "cpu" else {}))
        notes.take(f"{name} bf16 graphs compiled batch {batch}", speed, own, frames, batch)
        if given.device != "cpu":
            notes.take(f"{name} bf16 compiled batch {batch} device", on_device_only, own, frames, batch)
        expected = animate(make(model, given.device, "fp32", plain=True), frames[:32], batch)
        notes.take(f"{name} compiled PSNR", quality, own, frames[:32], batch, expected)


def main() -> None:
    """Run one stage."""
    stages = {
        "vox": vox_stage,
        "avatars": avatars_stage,
        "against": against_stage,
        "profile": profile_stage,
        "compile": compile_stage,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=sorted(stages))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--budget", type=float, default=60)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    stages[given.stage](Notes(given.stage, given), given)


if __name__ == "__main__":
    main()
