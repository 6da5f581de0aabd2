"""The temporary folder of a benchmark."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is removed at the block's end, also when that comes by SIGTERM: `timeout` sends it.

    Such a folder can have gigabytes, and a few that were left behind have filled a disk.
    """
    previous = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="animato-bench-") as folder:
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, previous)
