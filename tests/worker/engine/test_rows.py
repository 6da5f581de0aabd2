"""What is kept of every frame of a clip, and that the clip's length costs no more memory than that."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from worker.engine.rows import Rows

_A_CLIP = """
import sys
from pathlib import Path

import numpy as np

from model.bundle import load_bundle
from model.inference.animator import Animator
from worker.engine.motion import read_motion


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def batches():
    for number in range(40):
        yield np.random.default_rng(number).integers(0, 256, (16, 256, 256, 3), dtype=np.uint8)
        seen_mib.append(resident_mib())


seen_mib = []
animator = Animator(load_bundle(Path("model/bundles/avatars-256")), device="cpu", precision="bf16")
motion = read_motion(animator, batches(), seen_at=())
assert len(motion.keypoints.positions_BK2) == 640
print(max(seen_mib[10:]) - max(seen_mib[:10]))
"""


def test_rows_come_back_as_they_were_added() -> None:
    rows = Rows()
    parts = [np.random.default_rng(number).random((number, 3, 2), np.float32) for number in (4, 1, 7)]
    for part in parts:
        rows.add(part)
    assert np.array_equal(rows.all(), np.concatenate(parts))
    turned = Rows()
    turned.add(parts[2].transpose(0, 2, 1))
    assert np.array_equal(turned.all(), parts[2].transpose(0, 2, 1)), "not as they lie in memory"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read in /proc")
def test_a_clip_leaves_nothing_large_in_memory() -> None:
    # When its few numbers were a list of arrays, 480 frames left 390 MiB behind, in two runs of three.
    done = subprocess.run([sys.executable, "-c", _A_CLIP], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 120
