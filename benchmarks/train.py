"""Training steps a second: `python -m benchmarks.train --batch 2 --frame-size 128 [--against PATH]`.

A published preset with fresh weights learns from seeded frames; the VGG-19 of its loss has random weights, which cost
the same. `--against` takes a checkout of the official implementation, which learns from the same frames in batches of
the same size with the same losses, through its own classes, in a process of its own, in turn with ours. The last line
is JSON.
"""

import argparse
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.measuring import RESULTS, circumstances, make_frames, rounded
from benchmarks.opponent import constructor_arguments
from benchmarks.scratch import scratch_folder
from model.data.pairs import FramePairs
from model.training.backbones import Vgg19
from model.training.learner import Learner
from model.training.place import Place
from model.training.presets import PRESETS
from model.training.settings import TrainConfig


def main() -> None:
    """Measure training steps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description="Training steps a second.")
    parser.add_argument("--preset", default="vox-256", choices=sorted(PRESETS))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frame-size", type=int, default=256)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="A checkout of the official implementation.")
    parser.add_argument("--save", action="store_true", help="Write benchmarks/results/train-NAME.json.")
    given = parser.parse_args()
    with scratch_folder() as folder:
        report = rounded(_measure(given, folder))
    for key, value in report.items():
        print(f"{key:26} {value}")
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        name = f"train-{given.preset}-{given.frame_size}-{given.precision}-batch{given.batch}.json"
        (RESULTS / name).write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def _measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    backbone = folder / "vgg19.safetensors"
    save_file(Vgg19().state_dict(), backbone)
    preset = PRESETS[given.preset]()
    config = dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, frame_size=given.frame_size),
        perceptual=dataclasses.replace(preset.perceptual, weights_file=str(backbone)),
        num_steps=1_000_000,
        batch_size=given.batch,
        precision=given.precision,
        keypoint_precision=given.precision,
        channels_last=given.channels_last,
        device=given.device,
    )
    place = Place(config.device)
    learner = Learner(config, place)
    frames = make_frames(given.frame_size, 2 * given.batch)
    np.save(folder / "frames.npy", frames)
    first, second = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(255).split(given.batch)
    pairs = FramePairs(first, second)
    theirs = _Official(given.against, config, folder, place.device) if given.against else None
    ours_s, theirs_s = [], []
    loss = math.nan
    for number in range(given.rounds + 1):
        started_s = time.perf_counter()
        terms, _ = learner.step(number, pairs)
        loss = float(terms.total().detach())  # waits for the device
        ours_s.append(time.perf_counter() - started_s)
        theirs_s += [theirs.step()] if theirs else []
    step_s = statistics.median(ours_s[1:])
    report: dict[str, Any] = {
        "preset": given.preset,
        "frame_size": given.frame_size,
        "batch": given.batch,
        "precision": given.precision,
        "channels_last": given.channels_last,
        "device": str(place.device),
        "threads": torch.get_num_threads(),
        "loss": loss,
        "step_s": step_s,
        "samples_per_s": given.batch / step_s,
        **circumstances(),
    }
    if theirs:
        theirs.close()
        official_s = statistics.median(theirs_s[1:])
        report["official_samples_per_s"] = given.batch / official_s
        report["ratio"] = official_s / step_s
    return report


class _Official:
    """The official step in a process of its own."""

    def __init__(self, path: Path, config: TrainConfig, folder: Path, device: torch.device) -> None:
        weights = config.losses
        arguments = constructor_arguments(config.model)
        arguments["discriminator"] = {"block_expansion": 32, "max_features": 512, "num_blocks": 4, "sn": True}
        arguments["discriminator"] |= {"scales": [1], "num_kp": config.model.num_keypoints}
        arguments["train"] = {
            "scales": list(config.perceptual.scales),
            "loss_weights": {
                "generator_gan": weights.generator_gan,
                "discriminator_gan": weights.discriminator_gan,
                "feature_matching": list(weights.feature_matching),
                "perceptual": list(weights.perceptual),
                "equivariance_value": weights.equivariance_value,
                "equivariance_jacobian": weights.equivariance_jacobian,
            },
            "transform_params": {
                "sigma_affine": config.warp.sigma_affine,
                "sigma_tps": config.warp.sigma_bumps,
                "points_tps": config.warp.points_per_side,
            },
        }
        (folder / "train.json").write_text(json.dumps(arguments))
        command = [sys.executable, "-m", "benchmarks.train_opponent", str(path), str(folder), str(device)]
        self._process = subprocess.Popen(
            [*command, str(torch.get_num_threads())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> float:
        """Return the seconds that a step took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Let it go."""
        self._process.communicate(timeout=60)


if __name__ == "__main__":
    main()
