"""A job whose network takes no time draws what the network drew."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.measuring import as_bundle, find_model, make_frames
from benchmarks.whole_jobs import _Played
from model.config import MotionTransferOptions
from model.inference.animator import Animator
from tests.conftest import REPOSITORY


def test_what_was_drawn_is_played_back_without_the_network() -> None:
    animator = Animator(as_bundle(find_model("avatars-256")), "cpu")
    frames = make_frames(256, 5)

    def animated() -> np.ndarray:
        prepared = animator.prepare(frames[0])
        return np.concatenate(list(animator.animate(prepared, [frames[:3], frames[3:]], MotionTransferOptions())))

    expected = animated()
    played = _Played(animator._runner)
    animator._runner = played
    np.testing.assert_array_equal(animated(), expected)
    played._runner = None  # type: ignore[assignment] - whoever asked it now would fail
    np.testing.assert_array_equal(animated(), expected)


@pytest.mark.slow
def test_a_whole_job_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.whole_jobs", "--rounds", "1", "--driving", "tests/samples/driving.mp4"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=True)
    report = json.loads(run.stdout.splitlines()[-1])
    assert report["frames"] == 107
    for name in ("job_s", "network_alone_s", "without_network_s", "job_cpu_s", "ceiling_frames_per_s"):
        assert report[name] > 0, name
