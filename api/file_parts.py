"""One source or driving file on its way to the disk: sized, hashed and looked at while its bytes arrive."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from api.errors import PartRejected
from worker.errors import MediaRejected, MediaTooLarge, UnsupportedMedia
from worker.media_formats import DRIVING_MEDIA_TYPES, HEADER_MIN_BYTES, SNIFF_BYTES, SOURCE_MEDIA_TYPES, sniff

SOURCE_IMAGE = "source_image"
DRIVING_VIDEO = "driving_video"
FILE_PARTS = (SOURCE_IMAGE, DRIVING_VIDEO)
URL_FIELDS = {SOURCE_IMAGE: "source_url", DRIVING_VIDEO: "driving_url"}
"""The URLs that can stand in the place of a file."""
MOTION = "motion"
"""A field that names a motion template: in the place of the driving video."""
IN_PLACE_OF = {
    SOURCE_IMAGE: (URL_FIELDS[SOURCE_IMAGE],),
    DRIVING_VIDEO: (URL_FIELDS[DRIVING_VIDEO], MOTION),
}


class ReceivedFile(NamedTuple):
    """A file of a request, on the disk."""

    path: Path
    media_type: str
    """What its first bytes say, not what the client says."""
    size_bytes: int
    sha256: str


class FilePart:
    """Feed it with `write`, then call `finish`, and `close` in any case. Each raises PartRejected, or OSError."""

    def __init__(self, name: str, path: Path, max_bytes: int, *, field: str | None = None) -> None:
        """`field` is what errors name, where the file does not come as the part `name` itself."""
        self._name = name
        self._field = field or name
        self._path = path
        self._max_bytes = max_bytes
        self._file: BinaryIO = path.open("xb")
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0
        self._head = bytearray()
        self._media_type: str | None = None

    def write(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._size_bytes += len(data)
        if self._size_bytes > self._max_bytes:
            limit_mib = self._max_bytes / 2**20
            raise PartRejected(
                self._field, MediaTooLarge(f"The {_spoken(self._name)} has more than {limit_mib:g} MiB.", hint=_LIMITS)
            )
        if self._media_type is None:
            self._head += data[: SNIFF_BYTES - len(self._head)]
            if len(self._head) >= SNIFF_BYTES:
                self._sniff()
        self._sha256.update(data)
        self._file.write(data)

    def finish(self) -> ReceivedFile:
        """All bytes are there."""
        self.close()
        if not self._size_bytes:
            raise PartRejected(self._field, MediaRejected(f"The {_spoken(self._name)} is empty."))
        media_type = self._media_type or self._sniff()
        return ReceivedFile(self._path, media_type, self._size_bytes, self._sha256.hexdigest())

    def close(self) -> None:
        """Close the file; it can be repeated."""
        self._file.close()

    def _sniff(self) -> str:
        """Say no to what can never be used before the rest of it arrives. Whether it can be used, the probe decides."""
        if len(self._head) < HEADER_MIN_BYTES:
            # Shorter than any header. (Only at the end of the part: before that the head is waited for.)
            raise PartRejected(self._field, MediaRejected(f"The {_spoken(self._name)} is too short to be one."))
        found = sniff(bytes(self._head))
        allowed = SOURCE_MEDIA_TYPES if self._name == SOURCE_IMAGE else DRIVING_MEDIA_TYPES | SOURCE_MEDIA_TYPES
        # (A still picture as the driving video is left to the probe, which says that it does not move.)
        if found not in allowed:
            is_source = self._name == SOURCE_IMAGE
            kind, formats = ("a picture", SOURCE_MEDIA_TYPES) if is_source else ("a video", DRIVING_MEDIA_TYPES)
            raise PartRejected(
                self._field,
                UnsupportedMedia(
                    f"The {_spoken(self._name)} is not {kind} in a supported format ({found or 'unknown type'}).",
                    hint=f"Supported: {', '.join(sorted(formats))}.",
                ),
            )
        self._media_type = found
        return found


def _spoken(name: str) -> str:
    return name.replace("_", " ")


_LIMITS = "GET /limits and docs/api.md list what is accepted."
