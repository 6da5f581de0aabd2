"""What a driving video is, found by decoding all of it once; twice when some of it is damaged."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from worker.errors import FfmpegUnusable, MediaRejected, MediaTooLarge
from worker.jobs import VideoFacts
from worker.media_damage import DamageNotes, Repaired, repair
from worker.media_guard import guarded_input
from worker.media_header import (
    Header,
    decodes_audio,
    decoding_timeout,
    read_header,
    refusal,
    still_picture,
    too_many_pixels,
)
from worker.media_process import Ffmpeg
from worker.media_timing import Timing, find_timing
from worker.settings import MediaLimits

_SAMPLE_ASPECT_MAX = 16
"""To one: real pixels are up to 2:1. Beyond it, the square that is cut out of a frame is less than a pixel wide."""

_TELLS_FRAMES = ("-vf", "showinfo=checksum=0", "-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "null", "-")
_TRIAL_S = 20.0
_TRIAL_FRAMES = 2
_SHOWN_RATE = re.compile(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
_SHOWN_FRAME = re.compile(
    r"\[info\] n: *\d+ pts: *(?P<pts>-?\d+|NOPTS) .*?duration: *(?P<duration>-?\d+|NOPTS) .*?"
    r"fmt:(?P<format>\S+) .*?sar:(?P<sar>\d+/\d+) s:(?P<width>\d+)x(?P<height>\d+)"
)
_ALPHA_FORMATS = re.compile(r"^(yuva|rgba|bgra|argb|abgr|gbrap|ya\d|pal8)")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoded:
    ticks: list[int]
    last_ticks: int
    tick_s: Fraction
    nominal_fps: Fraction | None
    width: int
    height: int
    pixel_format: str


def probe_video(path: Path, limits: MediaLimits) -> VideoFacts:
    """What the driving video is; raises `MediaRejected` (or a subclass) when it cannot be animated."""
    check_ffmpeg()
    size_bytes = path.stat().st_size
    if size_bytes > limits.video_max_bytes:
        raise MediaTooLarge(f"The video has {size_bytes} bytes; at most {limits.video_max_bytes} are allowed.")
    header = read_header(path, limits)
    decoded, damaged = _decode(path, header, limits), ()
    if isinstance(decoded, MediaRejected):
        repaired, decoded = _decode_around_damage(path, header, limits, decoded)
        timing = Timing(fps=repaired.fps, frames=repaired.frames, variable=repaired.variable)
        damaged = repaired.damaged
    else:
        timing = find_timing(
            decoded.ticks, decoded.last_ticks, decoded.tick_s, decoded.nominal_fps, holds_last=header.is_picture
        )
    if timing.fps > limits.video_max_fps:
        raise MediaRejected(
            f"The video has {float(timing.fps):.2f} frames a second; at most {limits.video_max_fps} are allowed.",
            code="frame_rate_too_high",
        )
    if timing.frames > limits.video_max_frames:
        raise _too_many_frames(limits)
    if header.is_picture and len(decoded.ticks) == 1:
        raise still_picture()
    # The last frame has its own time too, and here it is as long as in the result.
    if timing.frames / timing.fps > limits.video_max_duration_s:
        raise _too_long(limits)
    has_audio = header.audio_codec is not None and decodes_audio(path, header.media_type, limits)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return VideoFacts(
        media_type=header.media_type,
        codec=header.codec,
        width=decoded.width,
        height=decoded.height,
        fps=f"{timing.fps.numerator}/{timing.fps.denominator}",
        frames=timing.frames,
        duration_s=round(float(timing.frames / timing.fps), 6),
        rotation_deg=header.rotation_deg,
        variable_frame_rate=timing.variable,
        has_audio=has_audio,
        audio_note=None if has_audio or header.audio_codec is None else _no_sound(header.audio_codec),
        has_alpha=bool(_ALPHA_FORMATS.match(decoded.pixel_format)),
        damaged_frames=damaged,
        size_bytes=size_bytes,
        sha256=sha256,
    )


def check_ffmpeg() -> None:
    """Raise FfmpegUnusable when `IMAGEIO_FFMPEG_EXE` names a program that does not tell what a look at a video needs.

    Else an old one would have every video refused as damaged. The one that comes along is not tried: it is tested.
    """
    if named := os.environ.get("IMAGEIO_FFMPEG_EXE"):
        _try_out(named)


@cache
def _try_out(named: str) -> None:
    arguments = ["-f", "lavfi", "-i", "color=size=16x16:rate=25:duration=0.08", *_TELLS_FRAMES]
    hint = "Name a newer one; without the variable the one that comes along is run. See docs/operations.md."
    try:
        with Ffmpeg(arguments, timeout_s=_TRIAL_S, log_level="info") as ffmpeg:
            frames = [line for line in ffmpeg.lines(timeout_s=_TRIAL_S) if _SHOWN_FRAME.search(line)]
            status = ffmpeg.finish(timeout_s=_TRIAL_S)
    except TimeoutError:
        raise FfmpegUnusable(f"IMAGEIO_FFMPEG_EXE: {named} does not answer.", hint=hint) from None
    if status != 0 or len(frames) != _TRIAL_FRAMES:
        raise FfmpegUnusable(f"IMAGEIO_FFMPEG_EXE: {named} is too old, or no ffmpeg.", hint=hint)


def _decode_around_damage(
    path: Path, header: Header, limits: MediaLimits, refused: MediaRejected
) -> tuple[Repaired, _Decoded]:
    """Decodes what can be decoded. Raises `refused` when too little can, or when it is not a matter of frames."""
    notes = DamageNotes()
    decoded = None if header.is_picture else _decode(path, header, limits, notes)
    if decoded is None or isinstance(decoded, MediaRejected):
        raise refused
    repaired = repair(decoded.ticks, notes, decoded.last_ticks, decoded.tick_s, decoded.nominal_fps)
    if repaired is None:
        raise refused
    return repaired, decoded


def _decode(
    path: Path, header: Header, limits: MediaLimits, notes: DamageNotes | None = None
) -> _Decoded | MediaRejected:
    """Decodes every frame, keeps nothing of it but when it is shown, and stops as soon as a limit is passed.

    A decoding error ends it, and is returned as what the video would be refused with; with `notes` it goes on and
    notes what was damaged.
    """
    opened = guarded_input(
        path,
        header.media_type,
        max_pixels=limits.video_max_pixels,
        video_decoder=header.alpha_decoder,
        damaged=notes is not None,
    )
    arguments = [
        *(*opened, "-xerror" if notes is None else "-debug_ts", "-map", "0:V:0", *_TELLS_FRAMES),
    ]
    ticks: list[int] = []
    tick_s, nominal, last_ticks = Fraction(1, 1000), None, 0
    first: re.Match[str] | None = None
    with Ffmpeg(arguments, timeout_s=limits.probe_timeout_s, log_level="info") as ffmpeg:
        try:
            for line in ffmpeg.lines(timeout_s=limits.probe_timeout_s):
                if notes:
                    notes.take(line)
                if (frame := _SHOWN_FRAME.search(line)) is not None:
                    first = first or frame
                    last_ticks = int(frame["duration"]) if frame["duration"] != "NOPTS" else 0
                    ticks.append(int(frame["pts"]) if frame["pts"] != "NOPTS" else (ticks or [0])[-1])
                    _check_length(ticks, last_ticks if header.is_picture else 0, tick_s, limits)
                elif not ticks and (rate := _SHOWN_RATE.search(line)) is not None:
                    tick_s = Fraction(int(rate[1]), int(rate[2]))
                    nominal = Fraction(int(rate[3]), int(rate[4])) if int(rate[3]) and int(rate[4]) else None
            status = ffmpeg.finish(timeout_s=limits.probe_timeout_s)
        except TimeoutError:
            raise decoding_timeout() from None
        if status != 0 or first is None:
            return refusal(ffmpeg.complaint(path), limits)
    width, height = _displayed_size(first)
    _check_size(width, height, limits)
    return _Decoded(
        ticks=ticks,
        last_ticks=last_ticks,
        tick_s=tick_s,
        nominal_fps=nominal,
        width=width,
        height=height,
        pixel_format=first["format"],
    )


def _displayed_size(frame: re.Match[str]) -> tuple[int, int]:
    """With square pixels: the height stays, the width is stretched by the sample aspect ratio."""
    width, height = int(frame["width"]), int(frame["height"])
    numerator, denominator = map(int, frame["sar"].split("/"))
    if numerator and denominator:
        if max(numerator, denominator) > _SAMPLE_ASPECT_MAX * min(numerator, denominator):
            raise MediaRejected(
                f"The video's pixels have the aspect ratio {numerator}:{denominator}; "
                f"at most {_SAMPLE_ASPECT_MAX}:1 and at least 1:{_SAMPLE_ASPECT_MAX} are allowed.",
                hint="Export it again with square pixels.",
            )
        width = max(1, round(Fraction(width * numerator, denominator)))
    return width, height


def _check_size(width: int, height: int, limits: MediaLimits) -> None:
    if width * height > limits.video_max_pixels:
        raise too_many_pixels(f"{width} x {height}", limits)
    if min(width, height) < limits.video_min_side_px:
        raise MediaRejected(
            f"The video has {width} x {height} pixels; "
            f"its shorter side must have at least {limits.video_min_side_px} pixels.",
            code="media_too_small",
        )


def _check_length(ticks: list[int], last_ticks: int, tick_s: Fraction, limits: MediaLimits) -> None:
    if len(ticks) > limits.video_max_frames:
        raise _too_many_frames(limits)
    # In animated pictures the time of the last frame counts too; in videos it is often wrong (`probe_video` counts it
    # at the rate that is found in the end).
    shown_s = float((ticks[-1] + last_ticks - ticks[0]) * tick_s)
    if shown_s > limits.video_max_duration_s:
        raise _too_long(limits)


def _no_sound(codec: str) -> str:
    return f"The sound (codec {codec if codec != 'none' else 'unknown'}) cannot be decoded and is left out."


def _too_long(limits: MediaLimits) -> MediaRejected:
    return MediaRejected(
        f"The video is longer than the {limits.video_max_duration_s:g} seconds that are allowed.",
        code="media_too_long",
    )


def _too_many_frames(limits: MediaLimits) -> MediaRejected:
    return MediaRejected(
        f"The video has more than the {limits.video_max_frames} frames that are allowed.", code="media_too_long"
    )
