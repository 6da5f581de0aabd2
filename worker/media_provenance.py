"""How each format of a result carries its `Provenance`.

    mp4    XMP in a `uuid` box at the end, and the tags `encoder` (©too) and `comment`
    webm   tags alone: nobody has said where XMP would be
    gif    XMP in an application extension before the trailer, and a comment
    webp   XMP in a chunk after the pictures
    png    in every file XMP, `Software` and `Comment`; the archive has a comment

Places of XMP are those of its specification, part 3 (ISO 16684-1 for the packet). What is appended comes behind the
pictures: nothing that points into a file moves, and whoever does not know it passes over it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from worker.errors import EncodingFailed
from worker.provenance import Provenance
from worker.result_formats import FormatName

_MP4_XMP = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
_GIF_TRAILER = b";"
_GIF_COMMENT, _GIF_APPLICATION = b"\x21\xfe", b"\x21\xff"
_GIF_XMP = b"\x0bXMP DataXMP"
# The packet is no row of sub-blocks. Whoever reads it as one lands somewhere in this ramp, and is led to its end.
_GIF_RAMP = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
_SUB_BLOCK = 255
_RIFF_HEADER = 12
_EXTENDED = b"VP8X"
_WEBP_FLAGS_AT = _RIFF_HEADER + 8
_WEBP_HAS_XMP = 0x04


def tag_arguments(video_format: FormatName, provenance: Provenance | None) -> list[str]:
    """The arguments by which ffmpeg writes the tags of a video."""
    if provenance is None or video_format not in ("mp4", "webm"):
        return []
    tags = provenance.tags
    if video_format == "mp4":  # takes a fixed set of names
        tags = {"encoding_tool": provenance.creator, "comment": provenance.sentence}
    return [argument for name, value in tags.items() for argument in ("-metadata", f"{name}={value}")]


def append_xmp(path: Path, video_format: FormatName, provenance: Provenance | None) -> None:
    """Add the XMP of a complete file, in its place. Raises EncodingFailed."""
    append = _APPENDING.get(video_format)
    if provenance is None or append is None:
        return
    try:
        with path.open("r+b") as file:
            append(file, provenance)
    except OSError as error:
        raise EncodingFailed(f"The result could not be written ({error.strerror}).") from error


def png_text(provenance: Provenance) -> PngInfo:
    """The text chunks of one PNG file."""
    info = PngInfo()
    info.add_text("Software", provenance.creator)
    info.add_text("Comment", provenance.sentence)
    info.add_itxt("XML:com.adobe.xmp", provenance.xmp.decode())
    return info


def _append_to_mp4(file: BinaryIO, provenance: Provenance) -> None:
    xmp = provenance.xmp
    file.seek(0, os.SEEK_END)
    file.write(struct.pack(">I4s", 8 + len(_MP4_XMP) + len(xmp), b"uuid") + _MP4_XMP + xmp)


def _append_to_gif(file: BinaryIO, provenance: Provenance) -> None:
    file.seek(-len(_GIF_TRAILER), os.SEEK_END)
    if file.read() != _GIF_TRAILER:
        raise EncodingFailed("The result could not be encoded (the GIF has no end).")
    file.seek(-len(_GIF_TRAILER), os.SEEK_END)
    comment = provenance.sentence.encode()
    blocks = (comment[start : start + _SUB_BLOCK] for start in range(0, len(comment), _SUB_BLOCK))
    file.write(_GIF_COMMENT + b"".join(bytes([len(block)]) + block for block in blocks) + b"\x00")
    file.write(_GIF_APPLICATION + _GIF_XMP + provenance.xmp + _GIF_RAMP + _GIF_TRAILER)


def _append_to_webp(file: BinaryIO, provenance: Provenance) -> None:
    head = file.read(_RIFF_HEADER + 4)
    if head[_RIFF_HEADER:] != _EXTENDED:
        _extend_webp(file)  # of one frame ffmpeg makes a plain picture, which has no place for more
    file.seek(_WEBP_FLAGS_AT)
    flags = file.read(1)[0]
    file.seek(_WEBP_FLAGS_AT)
    file.write(bytes([flags | _WEBP_HAS_XMP]))
    xmp = provenance.xmp
    file.seek(0, os.SEEK_END)
    file.write(b"XMP " + struct.pack("<I", len(xmp)) + xmp + b"\x00" * (len(xmp) % 2))
    size = file.tell() - 8
    file.seek(4)
    file.write(struct.pack("<I", size))


def _extend_webp(file: BinaryIO) -> None:
    """Put the extended header before the one opaque picture."""
    file.seek(0)
    width, height = Image.open(file).size
    file.seek(_RIFF_HEADER)
    picture = file.read()
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    file.seek(_RIFF_HEADER)
    file.write(_EXTENDED + struct.pack("<II", 4 + len(sides), 0) + sides + picture)


_APPENDING: dict[FormatName, Callable[[BinaryIO, Provenance], None]] = {
    "mp4": _append_to_mp4,
    "gif": _append_to_gif,
    "webp": _append_to_webp,
}
