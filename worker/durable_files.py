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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

UNFINISHED = re.compile(r"#\d+$")
"""The end of a file's name until it is complete: obstore lists no such file, and no key can look like it."""

_KEY = re.compile(r"(?!\.)[A-Za-z0-9._-]+(?:/(?!\.)[A-Za-z0-9._-]+)*")
_CHUNK_BYTES = 1 << 20
_TRIES = 20


def write_durably(root: Path, key: str, content: BinaryIO) -> None:
    """Put all of `content` at `root / key`, in place of what was there. Readers see the old file or the new one.

    Raises ValueError for a key that could lead elsewhere, OSError (a full disk) with nothing changed.
    """
    _put(root, key, lambda unfinished: _copy(content, unfinished))


def keep_durably(root: Path, key: str, file: Path) -> None:
    """The same with a finished file that nobody changes any more: on one disk a second name for it, not a copy.

    Raises as `write_durably`.
    """

    def link_or_copy(unfinished: Path) -> None:
        try:
            _in_its_folder(unfinished, lambda: os.link(file, unfinished, follow_symlinks=False))
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or one without hard links
            with file.open("rb") as content:
                _copy(content, unfinished)
            return
        with unfinished.open("rb") as linked:
            os.fsync(linked.fileno())

    _put(root, key, link_or_copy)


def _copy(content: BinaryIO, unfinished: Path) -> None:
    with _in_its_folder(unfinished, lambda: unfinished.open("xb")) as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
        file.flush()
        os.fsync(file.fileno())


def _put(root: Path, key: str, make: Callable[[Path], None]) -> None:
    """Have `make` write a complete file that is on the disk, and give it its name."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} has an illegal part")
    path = root / key
    unfinished = path.with_name(f"{path.name}#{secrets.randbits(63)}")
    try:
        make(unfinished)
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


def _in_its_folder(path: Path, create: Callable[[], T]) -> T:
    """Create `path`. Its folder may vanish at any moment: the store removes those that a deletion leaves empty."""
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return create()
    raise FileNotFoundError(path.parent)
