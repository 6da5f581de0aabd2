"""The official implementation in a process of its own, running as its demo does: frame after frame, in float32.

Only its own classes are used, from a checkout; nothing of it is part of this project. The parent says when to run, so
that both sides can take turns.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from model.config import ModelConfig
from model.networks.assembly import Networks


class Opponent:
    """A running process; `run` lets it animate all frames once."""

    def __init__(
        self,
        path: Path,
        config: ModelConfig,
        networks: Networks,
        frames: NDArray[np.uint8],
        folder: Path,
        device: str = "cpu",
    ) -> None:
        for name, network in networks._asdict().items():
            save_file({key: value.clone() for key, value in network.state_dict().items()}, folder / name)
        np.save(folder / "frames.npy", frames)
        (folder / "config.json").write_text(json.dumps(constructor_arguments(config)))
        self._results = folder / "drawn.npy"
        arguments = [str(path), str(folder), str(torch.get_num_threads()), device]
        command = [sys.executable, "-m", "benchmarks.opponent", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run()

    def run(self) -> tuple[float, float]:
        """Return the wall-clock and the CPU seconds that all frames took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        wall_s, cpu_s = json.loads(self._process.stdout.readline())
        return wall_s, cpu_s

    def frames(self) -> NDArray[np.uint8]:
        """Return what it drew."""
        return self._drawn

    def __enter__(self) -> "Opponent":
        return self

    def __exit__(self, *_exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate(timeout=60)  # closes its input: it leaves
        if self._results.exists():
            self._drawn = np.load(self._results)


def constructor_arguments(config: ModelConfig) -> dict[str, Any]:
    """Return what the official classes are built with, in their words."""
    detector, generator, dense = config.keypoint_detector, config.generator, config.generator.dense_motion
    common = {
        "num_kp": config.num_keypoints,
        "num_channels": config.num_channels,
        "estimate_jacobian": config.estimate_jacobian,
    }
    return {
        "detector": {
            "block_expansion": detector.block_expansion,
            "max_features": detector.max_features,
            "num_blocks": detector.num_blocks,
            "temperature": detector.temperature,
            "scale_factor": detector.scale_factor,
            "single_jacobian_map": detector.single_jacobian_map,
            "pad": detector.pad,
            **common,
        },
        "generator": {
            "block_expansion": generator.block_expansion,
            "max_features": generator.max_features,
            "num_down_blocks": generator.num_down_blocks,
            "num_bottleneck_blocks": generator.num_bottleneck_blocks,
            "estimate_occlusion_map": generator.estimate_occlusion_map,
            "dense_motion_params": {
                "block_expansion": dense.block_expansion,
                "max_features": dense.max_features,
                "num_blocks": dense.num_blocks,
                "scale_factor": dense.scale_factor,
                "kp_variance": dense.keypoint_variance,
            },
            **common,
        },
    }


def _relative(source: dict[str, Any], driving: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """Relative motion without adaptation of scale, as its demo is told with `--relative`."""
    moved = {"value": source["value"] + driving["value"] - first["value"]}
    if "jacobian" in driving:
        change = torch.matmul(driving["jacobian"], torch.inverse(first["jacobian"]))
        moved["jacobian"] = torch.matmul(change, source["jacobian"])
    return moved


def _serve(path: str, folder: Path, device: str) -> None:
    sys.path.insert(0, path)
    from modules.generator import OcclusionAwareGenerator  # type: ignore[import-not-found]
    from modules.keypoint_detector import KPDetector  # type: ignore[import-not-found]

    arguments = json.loads((folder / "config.json").read_text())
    detector = KPDetector(**arguments["detector"])
    detector.load_state_dict(load_file(folder / "keypoint_detector"))
    generator = OcclusionAwareGenerator(**arguments["generator"])
    generator.load_state_dict(load_file(folder / "generator"))
    detector.to(device).eval()
    generator.to(device).eval()
    driving = torch.from_numpy(np.load(folder / "frames.npy")).permute(0, 3, 1, 2).float() / 255
    for _ in sys.stdin:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        with torch.no_grad():
            picture = driving[:1].to(device)
            source, first = detector(picture), detector(picture)
            drawn = []
            for frame in driving.split(1):
                target = _relative(source, detector(frame.to(device)), first)
                prediction = generator(picture, kp_source=source, kp_driving=target)["prediction"]
                drawn.append(prediction[0].permute(1, 2, 0).cpu().numpy())
        times = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        np.save(folder / "drawn.npy", np.rint(np.stack(drawn) * 255).astype(np.uint8))
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    _serve(sys.argv[1], Path(sys.argv[2]), sys.argv[4])
