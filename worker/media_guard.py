"""How ffmpeg may open its inputs: the arguments that stand before every `-i`."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from worker.media_formats import AUDIO_DECODERS, DEMUXERS, VIDEO_DECODERS

_THREADS = "2"
_MAX_STREAMS = "64"


def guarded_input(
    path: Path, media_type: str, *, max_pixels: int, video_decoder: str | None = None, damaged: bool = False
) -> list[str]:
    """The arguments that open an untrusted file: guards first, then `-i`.

    `damaged`: so that a frame with errors in it comes out the same each time, one thread decodes.

    The absolute path behind `file:` keeps a name such as `-y`, `a:b.mp4` or `http://x` a mere name.
    """
    demuxer = DEMUXERS[media_type]
    return [
        *("-protocol_whitelist", "file"),
        *("-format_whitelist", demuxer),
        *("-codec_whitelist", ",".join(VIDEO_DECODERS + AUDIO_DECODERS)),
        *("-max_pixels", str(max_pixels)),
        *("-max_streams", _MAX_STREAMS),
        *("-threads", "1" if damaged else _THREADS),
        *(("-c:v", video_decoder) if video_decoder else ()),
        *("-f", demuxer),
        *("-i", file_url(path)),
    ]


def file_url(path: Path) -> str:
    """The path as ffmpeg takes it, with nothing in it that could be read as an option or a protocol."""
    return f"file:{os.path.abspath(path)}"


def raw_input(width: int, height: int, fps: Fraction) -> list[str]:
    """The arguments that take our own frames, `uint8_HWC` RGB, from the standard input."""
    return [
        *("-protocol_whitelist", "pipe"),
        *("-f", "rawvideo", "-pixel_format", "rgb24"),
        *("-video_size", f"{width}x{height}"),
        *("-framerate", f"{fps.numerator}/{fps.denominator}"),
        *("-i", "pipe:0"),
    ]
