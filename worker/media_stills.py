"""Frames as PNG files, without loss: in one ZIP archive, or in a folder."""

from __future__ import annotations

import os
import secrets
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from worker import pictures
from worker.errors import EncodingFailed
from worker.provenance import Provenance


class StillsWriter:
    """Writes `000000.png`, `000001.png`, ... into `path`: the folder if it is one, else a new archive.

    An archive appears under its name only when it is complete.
    """

    def __init__(self, path: Path, provenance: Provenance | None = None) -> None:
        self._path, self._provenance = path, provenance
        self._partial = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}")
        self._archive: zipfile.ZipFile | None = None
        self.frames = 0

    def __enter__(self) -> Self:
        if not self._path.is_dir():
            self._archive = zipfile.ZipFile(self._partial, "x", zipfile.ZIP_STORED)  # PNG is compressed already
            self._archive.comment = self._provenance.sentence.encode() if self._provenance else b""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._archive is not None:
            self._archive.close()
        self._partial.unlink(missing_ok=True)

    def write(self, frame_HWC: np.ndarray) -> None:
        """Write one frame, `uint8_HWC` RGB. Raises EncodingFailed when the disk does not take it."""
        name = f"{self.frames:06d}.png"
        try:
            if self._archive is None:
                pictures.write_png(self._path / name, frame_HWC, self._provenance)
            else:
                # A time of its own would make every archive another file.
                self._archive.writestr(zipfile.ZipInfo(name), pictures.as_png(frame_HWC, self._provenance))
        except OSError as error:
            raise EncodingFailed(f"The frames could not be written ({error.strerror}).") from error
        self.frames += 1

    def finish(self) -> None:
        """The archive is complete. Raises EncodingFailed."""
        if self._archive is None:
            return
        try:
            self._archive.close()
            os.replace(self._partial, self._path)
        except OSError as error:
            raise EncodingFailed(f"The frames could not be written ({error.strerror}).") from error
