"""The folder of this process for uploads that are on their way, and the removal of what dead processes left behind.

    <upload_dir>/api-<random>/lock        held by the process while it lives
    <upload_dir>/api-<random>/<random>/   one request: its two files

Several API processes may share `upload_dir`. A folder whose lock is free belongs to nobody any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker import logs

_LIVE_PREFIX = "api-"
_NEW_PREFIX = "new-"
_LOCK = "lock"
log = logs.get_logger(__name__)


@contextmanager
def open_upload_folder(upload_dir: Path) -> Iterator[Path]:
    """A folder for the uploads of this process; removed at the end. Empties the folders of dead processes first."""
    upload_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    remove_abandoned(upload_dir)
    # The folder gets its final name only when its lock is held: another process that is just starting must not take it
    # for abandoned in between.
    new = Path(tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=upload_dir))
    descriptor = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    folder = new.rename(upload_dir / (_LIVE_PREFIX + new.name.removeprefix(_NEW_PREFIX)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_abandoned(upload_dir: Path) -> None:
    """Remove the folders whose process is gone. Nothing else in `upload_dir` is touched."""
    for folder in upload_dir.glob(f"{_LIVE_PREFIX}*"):
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            log.info("abandoned_uploads_removed", folder=folder.name)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
