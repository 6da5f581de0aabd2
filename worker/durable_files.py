"""Write a file below a folder so that it is there whole or not at all, also after a power cut.

The order is what counts: the bytes are on the disk before the name points to them, and the name is on the disk before
the caller is told. (obstore's local store renames without the first, so a power cut could leave an empty file under a
valid name.)
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

UNFINISHED = re.compile(r"#\d+$")
"""The end of a file's name until it is complete: obstore lists no such file, and no key can look like it."""

_KEY = re.compile(r"(?!\.)[A-Za-z0-9._-]+(?:/(?!\.)[A-Za-z0-9._-]+)*")
_CHUNK_BYTES = 1 << 20
_TRIES = 20


def write_durably(root: Path, key: str, content: BinaryIO) -> None:
    """Put all of `content` at `root / key`, in place of what was there. Readers see the old file or the new one.

    Raises ValueError for a key that could lead elsewhere, OSError (a full disk) with nothing changed.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} has an illegal part")
    path = root / key
    unfinished = path.with_name(f"{path.name}#{secrets.randbits(63)}")
    try:
        with _created(unfinished) as file:
            shutil.copyfileobj(content, file, _CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    flush_names(root, path)


def flush_names(root: Path, path: Path) -> None:
    """Make the directory entries that lead from `root` to `path` durable."""
    for folder in path.parents:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder == root:
            return


def _created(path: Path) -> BinaryIO:
    """A new file. Its folder may vanish at any moment: the store removes those that a deletion leaves empty."""
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return path.open("xb")
    raise FileNotFoundError(path.parent)
