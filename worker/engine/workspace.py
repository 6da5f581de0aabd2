"""A folder for the files of one running job, and the removal of those that killed processes left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.engine.owner import is_running


@contextmanager
def workspace(data_dir: Path, job_id: str) -> Iterator[Path]:
    """A fresh private folder below `data_dir/work`, removed at the end."""
    root = data_dir / "work"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(root)
    folder = root / f"{os.getpid()}-{job_id}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove folders whose process is gone; one with our own number is of a predecessor (a process runs one job)."""
    for folder in root.iterdir():
        owner = folder.name.partition("-")[0]
        if owner.isdigit() and (int(owner) == os.getpid() or not is_running(int(owner))):
            shutil.rmtree(folder, ignore_errors=True)
