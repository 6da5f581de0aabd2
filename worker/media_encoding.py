"""The result: H.264 in MP4 with the sound of the driving clip.

The picture is encoded first, while frames come in; the sound is added by a second run that copies the picture. So the
sound can be cut to the number of frames that really came, and a broken sound track can never cost the picture.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from worker.errors import EncodingFailed, MediaRejected
from worker.media_guard import file_url, guarded_input, raw_input
from worker.media_header import decodes_audio, video_media_type
from worker.media_process import Ffmpeg
from worker.settings import UNLIMITED

# `veryfast` at a fixed quality: the encoder shares the processor with the network, and the slower presets would
# save some kilobytes of a small file at several times the work.
_ENCODER = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-profile:v", "high")
_COLOURS = ("-color_range", "tv", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
# ffmpeg forgets primaries and transfer of the options above when the frames do not say them, and browsers that miss any
# of the three take a small video for BT.601: greener greens.
_TO_YUV = (
    "scale=flags=bicubic+accurate_rnd+full_chroma_inp:out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=color_primaries=bt709:color_trc=bt709"
)
_AUDIO_FORMAT = "aformat=sample_rates=44100|48000:channel_layouts=mono|stereo"
_PLAIN_FILE = ("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-movflags", "+faststart")
_STALL_TIMEOUT_S = 120.0
_MUX_TIMEOUT_S = 600.0
_FIRST_FRAME_TIMEOUT_S = 30.0
_PICTURE_MAX_BYTES = 64 << 30  # far above any result; what it keeps from happening is a full disk
_AUDIO_MAX_BYTES_PER_S = 80_000  # the largest AAC frames that exist, in stereo at 48 kHz
_INDEX_MAX_BYTES = 16 << 20
_FIRST_PTS = re.compile(r"\] n: *0 pts: *-?\d+ pts_time:(-?[\d.]+)")

_NO_AUDIO = "The sound of the driving video could not be decoded and was left out."
_DAMAGED_AUDIO = "The sound of the driving video is damaged; it was kept as far as it could be decoded."


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenVideo:
    """What was written."""

    frames: int
    width: int
    height: int
    """Even: an odd side got one more line."""
    duration_s: float
    has_audio: bool
    warnings: tuple[str, ...] = ()


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: Fraction,
    width: int,
    height: int,
    audio_from: Path | None = None,
) -> WrittenVideo:
    """Writes `frames` (`uint8_HWC` or batches `uint8_THWC`, RGB) as an MP4 with exactly as many frames at `fps`.

    `audio_from` is the (untrusted) driving clip whose sound is kept, in step with its first picture and cut at the
    end of ours. The file appears under its name only when it is complete; an error, also one raised by `frames`,
    leaves nothing behind.
    """
    stem = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}")
    picture, complete = Path(f"{stem}.picture"), Path(f"{stem}.complete")
    even_width, even_height = width + width % 2, height + height % 2
    try:
        count = _encode(picture, _even(frames, width, height), fps, even_width, even_height)
        duration_s = count / fps
        has_audio, warnings = False, ()
        if audio_from is not None:
            has_audio, warnings = _add_audio(picture, audio_from, duration_s, complete)
        os.replace(complete if has_audio else picture, path)
    finally:
        picture.unlink(missing_ok=True)
        complete.unlink(missing_ok=True)
    return WrittenVideo(
        frames=count,
        width=even_width,
        height=even_height,
        duration_s=round(float(duration_s), 6),
        has_audio=has_audio,
        warnings=warnings,
    )


def _encode(target: Path, frames: Iterable[np.ndarray], fps: Fraction, width: int, height: int) -> int:
    arguments = [
        *raw_input(width, height, fps),
        *("-vf", _TO_YUV, *_ENCODER, *_COLOURS, "-fps_mode", "passthrough", *_PLAIN_FILE),
        *("-f", "mp4", "-y", file_url(target)),
    ]
    count = 0
    with Ffmpeg(arguments, feeds=True, writes_bytes=_PICTURE_MAX_BYTES) as ffmpeg:
        try:
            for frame in frames:
                ffmpeg.feed(frame.data.cast("B"), stall_timeout_s=_STALL_TIMEOUT_S)
                count += 1
            if count == 0:
                raise EncodingFailed("There are no frames to encode.", retryable=False)
            status = ffmpeg.finish(timeout_s=_STALL_TIMEOUT_S)
        except BrokenPipeError:
            status = ffmpeg.finish(timeout_s=_STALL_TIMEOUT_S) or 1
        except TimeoutError:
            raise EncodingFailed("The encoder stopped taking frames.") from None
        if status != 0:
            raise EncodingFailed(f"The result could not be encoded ({ffmpeg.complaint(target)}).")
    return count


def _even(frames: Iterable[np.ndarray], width: int, height: int) -> Iterator[np.ndarray]:
    """Single contiguous frames; H.264 in 4:2:0 needs even sides, so an odd one repeats its last line."""
    odd = ((0, height % 2), (0, width % 2), (0, 0))
    for batch in frames:
        for frame in batch if batch.ndim == 4 else batch[None]:
            if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                raise EncodingFailed(
                    f"A frame is {frame.shape} {frame.dtype}, not {(height, width, 3)}.", retryable=False
                )
            yield np.ascontiguousarray(np.pad(frame, odd, mode="edge") if any(map(any, odd)) else frame)


def _add_audio(picture: Path, audio_from: Path, duration_s: Fraction, target: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether `target` now is `picture` with sound, and what went wrong."""
    try:
        media_type = video_media_type(audio_from)
    except MediaRejected:
        return False, (_NO_AUDIO,)
    if not decodes_audio(audio_from, media_type, UNLIMITED):
        return False, (_NO_AUDIO,)
    guarded = guarded_input(audio_from, media_type, max_pixels=UNLIMITED.video_max_pixels)
    start_s = _first_picture_s(guarded)
    sound = [
        f"asetpts=PTS-{start_s}/TB",
        "aresample=async=1:first_pts=0",  # silence where the sound starts later or has a hole
        _AUDIO_FORMAT,
        f"atrim=end={float(duration_s):.6f}",
    ]
    arguments = [
        *("-protocol_whitelist", "file", "-f", "mov", "-i", file_url(picture)),
        *("-vn", "-sn", "-dn", *guarded),
        *("-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy", "-af", ",".join(sound), "-c:a", "aac", "-b:a", "160k"),
        *("-max_error_rate", "1", *_PLAIN_FILE, "-f", "mp4", "-y", file_url(target)),
    ]
    largest = picture.stat().st_size + round(duration_s * _AUDIO_MAX_BYTES_PER_S) + _INDEX_MAX_BYTES
    timeout_s = _MUX_TIMEOUT_S + float(duration_s)
    with Ffmpeg(arguments, timeout_s=timeout_s, writes_bytes=largest) as ffmpeg:
        try:
            status = ffmpeg.finish(timeout_s=timeout_s)
        except TimeoutError:
            return False, (_NO_AUDIO,)
        if status != 0:
            return False, (_NO_AUDIO,)
        return True, ((_DAMAGED_AUDIO,) if ffmpeg.complained_about_sound() else ())


def _first_picture_s(guarded: list[str]) -> str:
    """When the clip's first picture is shown: the moment at which its sound must begin in ours."""
    arguments = [*guarded, "-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo=checksum=0", "-f", "null", "-"]
    with Ffmpeg(arguments, timeout_s=_FIRST_FRAME_TIMEOUT_S, log_level="info") as ffmpeg:
        try:
            for line in ffmpeg.lines(timeout_s=_FIRST_FRAME_TIMEOUT_S):
                if (match := _FIRST_PTS.search(line)) is not None:
                    return match[1]
        except TimeoutError:
            pass
    return "0"
