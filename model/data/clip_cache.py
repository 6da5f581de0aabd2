"""Clips decoded once: one `.npy` file for each, uint8_THWC, read through memory maps.

    <cache>/256/3f9a...e1.npy     the name is a hash of the clip's bytes, the frame size and `DECODE_VERSION`
    <cache>/index.json            path, size and time of the files hashed so far, so that they are not read again

A file is there entirely or not at all; one that is damaged is decoded again. The same clip under two names, or in two
data sets, is stored once. Deleting the folder costs nothing but the time to decode. Several processes may share it;
when they start together on an empty cache, each decodes for itself: let one of them go first.

Shapes: T frames, H W height and width, C channels.
"""

import contextlib
import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.clip_budget import Budget
from model.data.clip_decode import DECODE_VERSION, ClipReader
from model.data.clip_files import ClipFile, DataError, frame_files

_INDEX_FILE = "index.json"
_INDEX_VERSION = 1
_STALE_PART_S = 24 * 3600.0


class CacheProgress(NamedTuple):
    """How far `ClipCache.prepare` is; also called for clips that were in the cache."""

    done: int
    total: int
    name: str
    size_bytes: int
    """Of all clips so far, on disk."""


class CachedClip(NamedTuple):
    """A clip in the cache."""

    clip: ClipFile
    key: str
    path: Path
    num_frames: int

    def map_frames(self) -> NDArray[np.uint8]:
        """Map the frames, uint8_THWC: nothing is read before it is used, and the map lives as long as the array."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


class ClipProblem(NamedTuple):
    """A clip that is left out, and why."""

    name: str
    error: DataError


class Prepared(NamedTuple):
    """The clips that can be used and those that cannot, both in the order of the clips given."""

    clips: tuple[CachedClip, ...]
    problems: tuple[ClipProblem, ...]
    size_bytes: int


def default_cache_dir() -> Path:
    """Return the folder used when none is given."""
    return Path.home() / ".cache" / "animato" / "clips"


class ClipCache:
    """The decoded clips of one frame size. `max_bytes` bounds what one data set may take."""

    def __init__(self, directory: Path | None, frame_size: int, *, max_bytes: int | None = None) -> None:
        self.root = directory or default_cache_dir()
        self.directory = self.root / str(frame_size)
        self._frame_size = frame_size
        self._frame_bytes = frame_size * frame_size * 3
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def prepare(
        self,
        clips: Sequence[ClipFile],
        on_progress: Callable[[CacheProgress], None] | None = None,
        *,
        decoders: int | None = None,
    ) -> Prepared:
        """Decode what is not in the cache yet, `decoders` clips at a time (by default as many as there are CPUs).

        Raises `DataError` with code `data_disk_short` or `data_cache_unwritable`.
        """
        self._sweep()
        index = self._read_index()
        budget = Budget(clips, self.root, self._max_bytes)
        done = 0

        def one(clip: ClipFile) -> CachedClip | ClipProblem:
            nonlocal done
            size_bytes = 0
            result: CachedClip | ClipProblem
            try:
                result = self._prepare_one(clip, index, budget)
                size_bytes = result.num_frames * self._frame_bytes
            except DataError as error:
                if not error.code.startswith("clip_"):
                    raise
                result = ClipProblem(clip.name, error.with_traceback(None))
            with self._lock:
                done += 1
                budget.finished(clip, size_bytes)
                if on_progress is not None:
                    on_progress(CacheProgress(done, len(clips), clip.name, budget.used_bytes))
            return result

        with ThreadPoolExecutor(decoders or os.cpu_count() or 1) as pool:
            futures = [pool.submit(one, clip) for clip in clips]
            try:
                results = [future.result() for future in futures]
            except BaseException:
                budget.stop()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                self._write_index(index)
        usable = tuple(result for result in results if isinstance(result, CachedClip))
        problems = tuple(result for result in results if isinstance(result, ClipProblem))
        return Prepared(usable, problems, sum(path.stat().st_size for path in {clip.path for clip in usable}))

    def _prepare_one(self, clip: ClipFile, index: dict[str, list[str]], budget: Budget) -> CachedClip:
        key = self._key(clip, index)
        path = self.directory / f"{key}.npy"
        num_frames = self._count_frames(path)
        if num_frames is None:
            num_frames = self._decode(clip, path, budget)
        elif not budget.take(num_frames * self._frame_bytes, new=False):
            raise budget.too_large()
        return CachedClip(clip, key, path, num_frames)

    def _key(self, clip: ClipFile, index: dict[str, list[str]]) -> str:
        files = frame_files(clip.path) if clip.is_frame_folder else (clip.path,)
        try:
            stats = [(path.name, path.stat()) for path in files]
            stamp = _sha256(*(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}" for name, stat in stats))
            known = index.get(str(clip.path.absolute()))
            if known is not None and known[0] == stamp:
                content = known[1]
            else:
                content = _hash_files(files)
                index[str(clip.path.absolute())] = [stamp, content]
        except OSError as error:
            raise DataError("clip_unreadable", f"{error.strerror or error}.") from error
        return _sha256(f"{DECODE_VERSION}\0{self._frame_size}\0{content}")[:40]

    def _count_frames(self, path: Path) -> int | None:
        """Return the frames in a cache file; None if it is absent or not whole."""
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError):
            return None
        # A map would take a file that is too long.
        whole = path.stat().st_size == getattr(frames, "offset", 0) + frames.nbytes
        size = self._frame_size
        if not whole or frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
            return None
        return len(frames)

    def _decode(self, clip: ClipFile, path: Path, budget: Budget) -> int:
        part = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.part")
        count, whole = 0, False
        try:
            with ClipReader(clip, self._frame_size) as reader, part.open("wb") as file:
                start = _write_header(file, 0, self._frame_size)
                for frame_HWC in reader.frames():
                    if not budget.take(self._frame_bytes, new=True):
                        raise budget.too_large()
                    file.write(frame_HWC.data)
                    count += 1
                if count == 0:
                    raise DataError("clip_unreadable", "It has no frame that can be decoded.")
                file.seek(0)
                assert _write_header(file, count, self._frame_size) == start
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            whole = True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise budget.too_large() from error
            raise self._unwritable(error) from error
        finally:
            part.unlink(missing_ok=True)
            if not whole:
                budget.take(-count * self._frame_bytes, new=True)
        return count

    def _sweep(self) -> None:
        """Remove what a killed process left."""
        for part in self.directory.glob(".*.part"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _STALE_PART_S:
                    part.unlink()

    def _read_index(self) -> dict[str, list[str]]:
        try:
            document = json.loads((self.root / _INDEX_FILE).read_text(encoding="utf-8"))
            if document["version"] != _INDEX_VERSION:
                return {}
            files: dict[str, list[str]] = document["files"]
            # A wrong hash would give a clip another's frames, so what is not as it was written is not used.
            return {str(path): [str(stamp), str(content)] for path, (stamp, content) in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write_index(self, index: dict[str, list[str]]) -> None:
        # Another process may have added files of another data set.
        document = {"version": _INDEX_VERSION, "files": {**self._read_index(), **index}}
        part = self.root / f".{_INDEX_FILE}.{os.getpid()}.part"
        try:
            part.write_text(json.dumps(document), encoding="utf-8")
            part.replace(self.root / _INDEX_FILE)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(
            "data_cache_unwritable",
            f"The cache {self.root} cannot be written: {error.strerror or error}.",
            "Choose another folder for the cache.",
        )


def _write_header(file: BinaryIO, num_frames: int, size: int) -> int:
    """Write the header of a .npy file and return where the data begins.

    NumPy leaves room for the first axis to grow, so that the header can be written again when T is known.
    """
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (num_frames, size, size, 3)}
    )
    return file.tell()


def _hash_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
