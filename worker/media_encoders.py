"""How ffmpeg writes each format of a result: the arguments between our frames and the file.

Frames go through one at a time in every one of them, so none needs more memory for a longer clip: a GIF has a palette
for each frame, and a WebP is a row of whole pictures (its own encoder for animations keeps everything until the end).
"""

from __future__ import annotations

from typing import NamedTuple

from worker.result_formats import FormatName

_PLAIN_FILE = ("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact")
_BT709 = ("-color_range", "tv", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
# ffmpeg forgets primaries and transfer of the options above when the frames do not say them, and browsers that miss any
# of the three take a small video for BT.601: greener greens.
_TO_YUV = (
    "scale=flags=bicubic+accurate_rnd+full_chroma_inp:out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=color_primaries=bt709:color_trc=bt709"
)
_TO_PALETTES = "split[a][b];[a]palettegen=stats_mode=single:reserve_transparent=0[p];[b][p]paletteuse=new=1"


class Encoder(NamedTuple):
    """The arguments of one format."""

    filters: str
    picture: tuple[str, ...]
    container: tuple[str, ...]
    sound: tuple[str, ...] = ()
    """Empty: the container holds none."""
    even: bool = False
    """Whether width and height must be even (4:2:0)."""


ENCODERS: dict[FormatName, Encoder] = {
    # `veryfast` at a fixed quality: the encoder shares the processor with the network, and the slower presets would
    # save some kilobytes of a small file at several times the work.
    "mp4": Encoder(
        _TO_YUV,
        ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-profile:v", "high", *_BT709),
        (*_PLAIN_FILE, "-movflags", "+faststart", "-f", "mp4"),
        ("-c:a", "aac", "-b:a", "160k"),
        even=True,
    ),
    "webm": Encoder(
        _TO_YUV,
        ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-crf", "22", "-b:v", "0", *_BT709),
        (*_PLAIN_FILE, "-f", "webm"),
        ("-c:a", "libopus", "-b:a", "128k"),
        even=True,
    ),
    # Whole pictures: what ffmpeg's encoder leaves out as unchanged is wrong where palettes change from frame to frame.
    "gif": Encoder(
        _TO_PALETTES,
        ("-c:v", "gif", "-gifflags", "-offsetting-transdiff"),
        (*_PLAIN_FILE, "-loop", "0", "-f", "gif"),
    ),
    "webp": Encoder(
        "format=bgra",  # libwebp converts by itself, with the matrix that WebP has
        ("-c:v", "libwebp", "-lossless", "0", "-quality", "90", "-compression_level", "2"),
        (*_PLAIN_FILE, "-loop", "0", "-f", "webp"),
    ),
}
"""Of all formats but `png`, which no ffmpeg is needed for."""
