"""Folders of running jobs."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from worker.engine.workspace import workspace


def test_private_and_gone_afterwards(tmp_path: Path) -> None:
    def fail() -> None:
        with workspace(tmp_path, "anm_1") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            (folder / "driving").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "work").iterdir()) == []


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    root = tmp_path / "work"
    (root / f"{gone.pid}-anm_1").mkdir(parents=True)
    (root / f"{os.getpid()}-anm_2").mkdir()
    (root / f"{os.getppid()}-anm_3").mkdir()
    (root / "notes").mkdir()
    with workspace(tmp_path, "anm_4") as folder:
        assert {path.name for path in root.iterdir()} == {folder.name, f"{os.getppid()}-anm_3", "notes"}
