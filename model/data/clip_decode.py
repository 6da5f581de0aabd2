"""A clip as a stream of small square frames.

The picture is cropped to the square in its middle and resized to `frame_size`, both by the decoder, so that only small
frames travel. Sample aspect ratio and rotation are applied first: what is cropped is the picture as it is shown.

ffmpeg runs behind `imageio_ffmpeg.read_frames` with the guards that the worker has for uploads: one demuxer told from
the file's first bytes, a short list of decoders, the file protocol only. Data sets are downloads too.

Shapes: H W height and width, C channels. Frames are RGB uint8.
"""

import contextlib
import logging
import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.data.clip_files import ClipFile, DataError, frame_files

DECODE_VERSION = 1
"""To be raised with every change of what is decoded to which pixels: it is a part of the cache's keys."""

MAX_PIXELS = 8192 * 8192
_SNIFF_BYTES = 64
_DEMUXERS = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"free", "mov"),
    (4, b"skip", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"GIF8", "gif"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
)
_DECODERS = (
    *("h264", "hevc", "vp8", "vp9", "libvpx", "libvpx-vp9", "libdav1d", "libaom-av1", "av1"),
    *("mpeg4", "mpeg1video", "mpeg2video", "gif"),
    # Sound is not decoded, but ffmpeg looks at every stream before it begins.
    *("aac", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "vorbis", "libvorbis", "ac3", "alac"),
    *("pcm_s16le", "pcm_s16be"),
)
_PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_LOG_PREFIX = re.compile(r"^\[[^\]]*\] ?")
# Lines of a failed run that follow from the line that says what was wrong.
_CONSEQUENCES = ("Error opening", "Error while", "Conversion failed", "Task finished", "Terminating", "Nothing was")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipHeader:
    """What is known of a clip before its frames are decoded."""

    width: int
    """As it is shown: after rotation."""
    height: int
    announced_frames: float
    """What the container promises, which may be off; 0 if it promises nothing."""


class ClipReader:
    """Opens a clip and yields its frames, once. Close it, or use it in a `with` block.

    Raises `DataError` with code `clip_unreadable` here or from `frames`; its detail is the reason, without the name.
    """

    def __init__(self, clip: ClipFile, frame_size: int) -> None:
        self._frame_size = frame_size
        self.other_sizes: set[tuple[int, int]] = set()
        """Sizes of later frames that differ from the first's, filled while a folder of frames is read."""
        if clip.is_frame_folder:
            self.header, self._source = self._open_folder(frame_files(clip.path))
        else:
            self.header, self._source = self._open_video(clip.path)

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder."""
        self._source.close()

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield every frame, uint8_HWC, read-only."""
        try:
            yield from self._source
            return
        except DataError:
            raise
        except Exception as error:  # the library raises whatever comes
            reason = _reason(str(error))
        # Not chained: the library's error would keep the decoder's pipes open for as long as ours is kept.
        raise _unreadable(reason)

    def _open_video(self, path: Path) -> tuple[ClipHeader, Generator[NDArray[np.uint8]]]:
        size = self._frame_size
        square = "crop=w='min(iw,ih/sar)':h='min(ih,iw*sar)'"
        raw = imageio_ffmpeg.read_frames(
            f"file:{os.path.abspath(path)}",
            input_params=_guards(_demuxer(path)),
            output_params=[
                *("-map", "0:v:0", "-an", "-sn", "-dn"),
                # Every frame once: a GIF or a phone's video has frames of different length.
                *("-fps_mode", "passthrough"),
                *("-vf", f"{square},scale={size}:{size}:flags=area+accurate_rnd+full_chroma_int,setsar=1"),
            ],
        )
        raw = cast("Generator[Any]", raw)
        facts: dict[str, Any] = {}
        reason = ""
        try:
            facts = next(raw)
        except Exception as error:  # IndexError, RuntimeError, OSError: it parses ffmpeg's log
            reason = _reason(str(error))
        if not facts:
            raise _unreadable(reason)  # not chained, see `frames`
        width, height = facts["source_size"]
        if facts.get("rotate", 0) % 180:
            width, height = height, width
        announced = facts.get("duration", 0.0) * facts.get("fps", 0.0)
        header = ClipHeader(width=width, height=height, announced_frames=announced)

        def frames() -> Generator[NDArray[np.uint8]]:
            try:
                for frame in raw:
                    yield np.frombuffer(frame, np.uint8).reshape(size, size, 3)
            finally:
                raw.close()

        return header, frames()

    def _open_folder(self, paths: tuple[Path, ...]) -> tuple[ClipHeader, Generator[NDArray[np.uint8]]]:
        with _picture(paths[0]) as first:
            width, height = first.size
        header = ClipHeader(width=width, height=height, announced_frames=len(paths))

        def frames() -> Generator[NDArray[np.uint8]]:
            for path in paths:
                with _picture(path) as picture:
                    if picture.size != (width, height):
                        self.other_sizes.add(picture.size)
                    yield _square(picture, self._frame_size, path.name)

        return header, frames()


def _guards(demuxer: str) -> list[str]:
    return [
        *("-nostdin", "-protocol_whitelist", "file"),
        *("-format_whitelist", demuxer, "-codec_whitelist", ",".join(_DECODERS)),
        *("-max_pixels", str(MAX_PIXELS), "-max_streams", "64"),
        # One thread: several clips are decoded at the same time instead.
        *("-threads", "1", "-f", demuxer),
    ]


def _demuxer(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFF_BYTES)
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from error
    if not head:
        raise _unreadable("the file is empty")
    for at, magic, demuxer in _DEMUXERS:
        if head[at : at + len(magic)] == magic:
            return demuxer
    raise _unreadable("the file is neither MP4, MOV, MKV, WebM, MPEG nor GIF, whatever its name says")


@contextlib.contextmanager
def _picture(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=_PICTURE_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _unreadable(f"{path.name} has {picture.width} × {picture.height} pixels")
            yield picture
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(f"{path.name}: {_reason(str(error))}") from error


def _square(picture: Image.Image, size: int, name: str) -> NDArray[np.uint8]:
    """Crop the middle and resize it, as the video's filter does."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    if picture.mode.startswith("I"):
        raise _unreadable(f"{name} has 16 bits a channel", "Save it with 8 bits.")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    box = (left, top, left + side, top + side)
    return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BOX, box), np.uint8)


def _reason(text: str) -> str:
    """Return the line of an error message that tells a person most."""
    if "matches no streams" in text:
        return "it has no video stream"
    lines = [_LOG_PREFIX.sub("", line.strip()) for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("===", "Could not load meta", "Input #"))]
    causes = [line for line in lines if not line.startswith(_CONSEQUENCES)]
    return (causes or lines or ["it has no video stream or cannot be decoded"])[-1][:200]


def _unreadable(reason: str, hint: str = "") -> DataError:
    return DataError("clip_unreadable", reason[:1].upper() + reason[1:].rstrip(".") + ".", hint)


def _is_not_size_notice(record: logging.LogRecord) -> bool:
    return "frame size for reading" not in record.getMessage()


# The frames have another size than the video because we ask for it: the library's warning of that says nothing.
logging.getLogger("imageio_ffmpeg").addFilter(_is_not_size_notice)
