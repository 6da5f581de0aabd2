"""Training within a given time: its parts. The whole takes a GPU, or hours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import train_shipped
from benchmarks.train_shipped import collect, draw_chunks, joined, keep, measured_step_s, widened
from model import export
from model.bundle import load_bundle
from model.data.avatar_pool import draw_groups
from model.training.launch import pool_of
from model.training.presets import PRESETS
from model.training.train import run_training
from tests.conftest import children_of, wait_until
from tests.model.training_runs import ShiftedBlobs, one_thread, tiny_run

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_the_processor_draws_joins_what_the_device_drew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_shipped, "_SIZE", 32)
    monkeypatch.setattr(train_shipped, "_CHUNK", 1)
    monkeypatch.setattr("os.nice", lambda _: 0)  # not of the test run
    draw_chunks(tmp_path, 0, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.safetensors", "2.safetensors"], (
        "others draw the rest"
    )
    parts = [draw_groups(range(1), 32), *collect(tmp_path, torch.device("cpu"))]
    drawn = joined(parts)
    assert drawn.frames_GIPCHW.shape[0] == drawn.faces_GP2.shape[0] == 3
    assert len({frames.numpy().tobytes() for frames in drawn.frames_GIPCHW}) == 3, "nobody is drawn twice"
    assert list(tmp_path.iterdir()) == []


def test_killed_it_leaves_nothing_behind(tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    command = [
        sys.executable,
        "-m",
        "benchmarks.train_shipped",
        "--seconds",
        "500",
        "--groups",
        "1",
        "-o",
        str(tmp_path / "out"),
    ]
    run = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE)
    assert run.stderr is not None
    try:
        assert run.stderr.read(16) == b"\rDrawing avatars"
        drawers = children_of(run.pid)
        assert len(list(scratch.glob("animato-bench-*/chunks"))) == 1
        assert drawers
        run.terminate()
        assert run.wait(60) == 128 + signal.SIGTERM, run.stderr.read().decode()
    finally:
        run.kill()
        run.wait()
        run.stderr.close()
    assert list(scratch.iterdir()) == []
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in drawers), "nobody draws any more")


def test_a_step_is_measured_on_the_data_of_the_run() -> None:
    drawn = draw_groups(range(1), 32)
    assert measured_step_s(tiny_run(), drawn) > 0
    assert pool_of(tiny_run(), drawn, 4).batch(0).source_BCHW.shape == (4, 3, 32, 32)


def test_a_wider_network_keeps_its_sizes() -> None:
    model = PRESETS["avatars-256"]().model
    wider = widened(model, 20, 32)
    assert widened(model, 16, 24) == model, "the default is the network of the preset"
    assert (wider.num_keypoints, wider.keypoint_detector.max_features) == (20, 512)
    assert wider.generator.dense_motion.scale_factor == model.generator.dense_motion.scale_factor


def test_a_bundle_that_half_precision_spoils_is_kept_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "avatars-64"
    run_training(tiny_run(num_steps=1, sample_every=1), ShiftedBlobs(), run)
    output = tmp_path / "out"
    output.mkdir()
    monkeypatch.setattr(export, "_TOLERANCE", export._TOLERANCE | {"fp16": (float("inf"), 0.0)})
    keep(run, output)
    assert sorted(path.name for path in output.iterdir()) == ["avatars-64-fp32", "avatars-64.jsonl", "avatars-64.png"]
    assert load_bundle(output / "avatars-64-fp32").info.dtype == "fp32"
