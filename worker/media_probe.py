"""What a driving video is, found by decoding all of it once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from worker.errors import MediaRejected, MediaTooLarge, UnsupportedMedia
from worker.jobs import VideoFacts
from worker.media_formats import DEMUXERS, SNIFF_BYTES, is_animated_webp, sniff
from worker.media_process import Ffmpeg, guarded_input
from worker.media_timing import find_timing
from worker.settings import MediaLimits

_HEADER_TIMEOUT_S = 20.0
_AUDIO_TIMEOUT_S = 20.0

_STREAM = re.compile(
    r"^\[info\] {3,5}Stream #0:(?P<index>\d+)(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: "
    r"(?P<kind>Video|Audio): (?P<codec>\w+)(?P<rest>.*)$"
)
_SIZE = re.compile(r", (\d+)x(\d+)[, ]")
_PIXEL_FORMAT = re.compile(r", (?P<name>[a-z0-9]+)\((?P<notes>[^)]*)\), \d+x\d+")
_ALPHA_MODE = re.compile(r"^\[info\]\s+alpha_mode\s*: 1$", re.IGNORECASE)
_ROTATION = re.compile(r"^\[info\]\s+display ?matrix: rotation of (-?[\d.]+) degrees", re.IGNORECASE)
_SHOWN_RATE = re.compile(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
_SHOWN_FRAME = re.compile(
    r"\[info\] n: *\d+ pts: *(?P<pts>-?\d+|NOPTS) .*?duration: *(?P<duration>-?\d+|NOPTS) .*?"
    r"fmt:(?P<format>\S+) .*?sar:(?P<sar>\d+/\d+) s:(?P<width>\d+)x(?P<height>\d+)"
)
_REFUSED_SIZE = re.compile(r"Picture size (\d+x\d+) is invalid")
_REFUSED_CODEC = re.compile(r"Codec \(([\w-]+)\) not on whitelist")
_MATRICES = frozenset(
    ("bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "ycgco", "bt2020nc", "bt2020c", "ictcp", "gbr")
)
_ALPHA_FORMATS = re.compile(r"^(yuva|rgba|bgra|argb|abgr|gbrap|ya\d|pal8)")
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What the header of a driving video claims; enough to choose how to decode it, nothing is believed."""

    media_type: str
    codec: str
    pixels: int
    rotation_deg: int
    says_audio: bool
    alpha_decoder: str | None
    """The decoder that keeps the alpha channel, where ffmpeg's own leaves it out."""
    tells_colour_matrix: bool

    @property
    def is_picture(self) -> bool:
        """Whether it is an animated picture, whose frames each say how long they are shown."""
        return self.media_type.startswith("image/")


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
    size_bytes = path.stat().st_size
    if size_bytes > limits.video_max_bytes:
        raise MediaTooLarge(f"The video has {size_bytes} bytes; at most {limits.video_max_bytes} are allowed.")
    header = read_header(path, limits)
    decoded = _decode(path, header, limits)
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
        raise _still_picture()
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
        has_audio=header.says_audio and decodes_audio(path, header.media_type, limits),
        has_alpha=bool(_ALPHA_FORMATS.match(decoded.pixel_format)),
        size_bytes=size_bytes,
        sha256=sha256,
    )


def video_media_type(path: Path) -> str:
    """The media type by the file's first bytes; raises when no driving video can have it."""
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    if not head:
        raise MediaRejected("The file is empty.")
    media_type = sniff(head)
    if media_type == "image/webp" and not is_animated_webp(head):
        raise _still_picture()
    if media_type in DEMUXERS:
        return media_type
    if media_type is not None and media_type.startswith("image/"):
        raise _still_picture()
    if media_type is not None and media_type.startswith("audio/"):
        raise _no_picture()
    raise UnsupportedMedia(
        f"The file is not a video of a supported container ({media_type or 'unknown type'}).",
        hint="Use MP4, MOV, WebM, MKV, MPEG or an animated GIF or WebP.",
    )


def read_header(path: Path, limits: MediaLimits) -> Header:
    """Opens the file under guard and reads what its header says, without decoding it."""
    media_type = video_media_type(path)
    arguments = guarded_input(path, media_type, max_pixels=limits.video_max_pixels)
    opened, rotation_deg, says_audio, says_alpha = False, 0, False, False
    video: re.Match[str] | None = None
    with Ffmpeg(arguments, log_level="info") as ffmpeg:
        try:
            for line in ffmpeg.lines(timeout_s=_HEADER_TIMEOUT_S):
                opened = opened or line.startswith("[info] Input #0")
                stream = _STREAM.match(line)
                if stream is not None and stream["kind"] == "Audio":
                    says_audio = True
                elif stream is not None and video is None and "(attached pic)" not in stream["rest"]:
                    video = stream
                elif video is not None and _ALPHA_MODE.match(line):
                    says_alpha = True
                elif video is not None and rotation_deg == 0 and (rotation := _ROTATION.match(line)):
                    rotation_deg = round(-float(rotation[1])) % 360
        except TimeoutError:
            raise decoding_timeout() from None
        if video is None:
            raise _no_picture() if opened else _refusal(ffmpeg.complaint(path), limits)
    size = _SIZE.search(video["rest"])
    pixels = int(size[1]) * int(size[2]) if size else 0
    if pixels > limits.video_max_pixels:
        raise _too_many_pixels(f"{int(size[1])} x {int(size[2])}" if size else "", limits)
    return Header(
        media_type=media_type,
        codec=video["codec"],
        pixels=pixels,
        rotation_deg=rotation_deg,
        says_audio=says_audio,
        alpha_decoder=_ALPHA_DECODERS.get(video["codec"]) if says_alpha else None,
        tells_colour_matrix=_tells_colour_matrix(video["rest"]),
    )


def decodes_audio(path: Path, media_type: str, limits: MediaLimits) -> bool:
    """Whether at least one frame of the first audio stream can be decoded."""
    arguments = [
        *guarded_input(path, media_type, max_pixels=limits.video_max_pixels),
        *("-map", "0:a:0", "-frames:a", "1", "-f", "framecrc", "-"),
    ]
    output = bytearray(4096)
    with Ffmpeg(arguments, yields=True) as ffmpeg:
        try:
            size = ffmpeg.read_into(memoryview(output), stall_timeout_s=_AUDIO_TIMEOUT_S)
        except TimeoutError:
            return False
    return any(line and not line.startswith(b"#") for line in bytes(output[:size]).splitlines())


def _decode(path: Path, header: Header, limits: MediaLimits) -> _Decoded:
    """Decodes every frame, keeps nothing of it but when it is shown, and stops as soon as a limit is passed."""
    arguments = [
        *guarded_input(path, header.media_type, max_pixels=limits.video_max_pixels, video_decoder=header.alpha_decoder),
        *("-xerror", "-map", "0:V:0", "-vf", "showinfo=checksum=0"),
        *("-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "null", "-"),
    ]
    ticks: list[int] = []
    tick_s, nominal, last_ticks = Fraction(1, 1000), None, 0
    first: re.Match[str] | None = None
    with Ffmpeg(arguments, log_level="info") as ffmpeg:
        try:
            for line in ffmpeg.lines(timeout_s=limits.probe_timeout_s):
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
            raise _refusal(ffmpeg.complaint(path), limits)
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
        width = max(1, round(Fraction(width * numerator, denominator)))
    return width, height


def _check_size(width: int, height: int, limits: MediaLimits) -> None:
    if width * height > limits.video_max_pixels:
        raise _too_many_pixels(f"{width} x {height}", limits)
    if min(width, height) < limits.video_min_side_px:
        raise MediaRejected(
            f"The video has {width} x {height} pixels; "
            f"its shorter side must have at least {limits.video_min_side_px} pixels.",
            code="media_too_small",
        )


def _check_length(ticks: list[int], last_ticks: int, tick_s: Fraction, limits: MediaLimits) -> None:
    if len(ticks) > limits.video_max_frames:
        raise _too_many_frames(limits)
    # In animated pictures the time of the last frame counts too; in videos it is often wrong.
    shown_s = float((ticks[-1] + last_ticks - ticks[0]) * tick_s)
    if shown_s > limits.video_max_duration_s:
        raise MediaRejected(
            f"The video is longer than the {limits.video_max_duration_s:g} seconds that are allowed.",
            code="media_too_long",
        )


def _tells_colour_matrix(stream: str) -> bool:
    """Whether the pixel format's notes, such as `tv, bt470bg/bt709/bt709, progressive`, name the matrix."""
    pixel_format = _PIXEL_FORMAT.search(stream)
    notes = pixel_format["notes"].split(", ") if pixel_format else []
    return any(note.split("/")[0] in _MATRICES for note in notes)


def _refusal(complaint: str, limits: MediaLimits) -> MediaRejected:
    if (codec := _REFUSED_CODEC.search(complaint)) is not None:
        return UnsupportedMedia(f"The video's codec, {codec[1]}, is not supported.", hint="Use H.264 in an MP4 file.")
    if (size := _REFUSED_SIZE.search(complaint)) is not None:
        return _too_many_pixels(size[1].replace("x", " x "), limits)
    return MediaRejected(
        f"The video is damaged and cannot be decoded ({complaint}).", hint="Export it again, for instance as MP4."
    )


def _too_many_pixels(size: str, limits: MediaLimits) -> MediaRejected:
    return MediaRejected(
        f"The video has {size} pixels; at most {limits.video_max_pixels} pixels are allowed.", code="media_too_large"
    )


def _too_many_frames(limits: MediaLimits) -> MediaRejected:
    return MediaRejected(
        f"The video has more than the {limits.video_max_frames} frames that are allowed.", code="media_too_long"
    )


def _still_picture() -> MediaRejected:
    return MediaRejected(
        "The driving video is a still picture.", code="not_an_animation", hint="Use a video or an animated GIF."
    )


def _no_picture() -> MediaRejected:
    return MediaRejected("The file has no video stream.", code="no_video_stream")


def decoding_timeout() -> MediaRejected:
    """The error of a video that costs more time than it may."""
    return MediaRejected("The video takes too long to decode.", code="media_timeout")
