"""How much of the disk the decoded clips may take, and the error that says how much they need."""

import contextlib
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from model.data.clip_files import ClipFile, DataError, frame_files

RESERVE_BYTES = 1 << 30
"""So much of the disk is left free."""

# The estimate from the clips decoded so far is believed after this many, and only if it is too large by a factor.
_ESTIMATE_AFTER = 8
_ESTIMATE_FACTOR = 1.5


class Budget:
    """Asked before bytes are written, from several threads.

    It refuses what does not fit, and everything as soon as the clips done so far let expect that the others will not
    fit by far: better after eight clips than after a night.
    """

    def __init__(self, clips: Sequence[ClipFile], root: Path, max_bytes: int | None) -> None:
        self._root = root
        self._input_bytes = {clip.name: _size_of(clip) for clip in clips}
        self._total_input_bytes = sum(self._input_bytes.values())
        self._free_bytes = max(0, shutil.disk_usage(root).free - RESERVE_BYTES)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._stopped = False
        self._new_bytes = 0
        self._done = 0
        self._done_bytes = 0
        self._done_input_bytes = 0
        self.used_bytes = 0
        """Of clips in the cache before and of those decoded."""

    def take(self, size_bytes: int, *, new: bool) -> bool:
        """Reserve bytes, or give them back with a negative number; return whether there is room."""
        with self._lock:
            self.used_bytes += size_bytes
            self._new_bytes += size_bytes if new else 0
            return size_bytes <= 0 or (not self._stopped and self._has_room())

    def finished(self, clip: ClipFile, size_bytes: int) -> None:
        """Note what a clip has taken: it tells how much the others may take."""
        with self._lock:
            self._done += 1
            self._done_bytes += size_bytes
            self._done_input_bytes += self._input_bytes[clip.name]

    def stop(self) -> None:
        """Refuse everything from now on, so that decoders end."""
        self._stopped = True

    def too_large(self) -> DataError:
        """Return the error that says how much is missing."""
        room = self._free_bytes if self._max_bytes is None else min(self._free_bytes, self._max_bytes)
        return DataError(
            "data_disk_short",
            f"The cache of the decoded clips needs about {_amount(self._estimate())}, but {_amount(room)} may be used "
            f"at {self._root}.",
            "Choose a folder for the cache on a larger disk, a smaller frame size, or fewer or shorter clips.",
        )

    def _has_room(self) -> bool:
        if self._new_bytes > self._free_bytes or (self._max_bytes is not None and self.used_bytes > self._max_bytes):
            return False
        if self._done < _ESTIMATE_AFTER:
            return True
        estimate = self._estimate()
        if self._max_bytes is not None and estimate > _ESTIMATE_FACTOR * self._max_bytes:
            return False
        return estimate - self.used_bytes + self._new_bytes <= _ESTIMATE_FACTOR * self._free_bytes

    def _estimate(self) -> int:
        """Return what all clips may take, from what those done have taken for each byte of video."""
        if not self._done_input_bytes:
            return self.used_bytes
        return max(self.used_bytes, int(self._done_bytes / self._done_input_bytes * self._total_input_bytes))


def _size_of(clip: ClipFile) -> int:
    files = frame_files(clip.path) if clip.is_frame_folder else (clip.path,)
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in files)
    return 0


def _amount(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.2f} MB"
