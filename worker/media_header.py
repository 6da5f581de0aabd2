"""What the header of a driving video says, read under guard, and the sentences with which a video is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from worker.errors import MediaRejected, UnsupportedMedia
from worker.media_formats import DEMUXERS, HEADER_MIN_BYTES, SNIFF_BYTES, claimed_canvas, is_animated_webp, sniff
from worker.media_guard import guarded_input
from worker.media_process import Ffmpeg
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
_REFUSED_SIZE = re.compile(r"Picture size (\d+x\d+) is invalid")
_REFUSED_CODEC = re.compile(r"Codec \(([\w-]+)\) not on whitelist")
_MATRICES = frozenset(
    ("bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "ycgco", "bt2020nc", "bt2020c", "ictcp", "gbr")
)
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What the header of a driving video claims; enough to choose how to decode it, nothing is believed."""

    media_type: str
    codec: str
    pixels: int
    rotation_deg: int
    audio_codec: str | None
    """Of the first audio stream, if there is one; whether it can be decoded is another question."""
    alpha_decoder: str | None
    """The decoder that keeps the alpha channel, where ffmpeg's own leaves it out."""
    tells_colour_matrix: bool

    @property
    def is_picture(self) -> bool:
        """Whether it is an animated picture, whose frames each say how long they are shown."""
        return self.media_type.startswith("image/")


def video_media_type(path: Path) -> str:
    """The media type by the file's first bytes; raises when no driving video can have it."""
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    if not head:
        raise MediaRejected("The file is empty.")
    if len(head) < HEADER_MIN_BYTES:
        raise MediaRejected("The file is too short to be a video.")
    media_type = sniff(head)
    if media_type == "image/webp" and not is_animated_webp(head):
        raise still_picture()
    if media_type in DEMUXERS:
        return media_type
    if media_type is not None and media_type.startswith("image/"):
        raise still_picture()
    if media_type is not None and media_type.startswith("audio/"):
        raise _no_picture()
    raise UnsupportedMedia(
        f"The file is not a video of a supported container ({media_type or 'unknown type'}).",
        hint="Use MP4, MOV, WebM, MKV, MPEG or an animated GIF or WebP.",
    )


def read_header(path: Path, limits: MediaLimits) -> Header:
    """Opens the file under guard and reads what its header says, without decoding it."""
    media_type = video_media_type(path)
    _check_canvas(path, media_type, limits)
    arguments = guarded_input(path, media_type, max_pixels=limits.video_max_pixels)
    opened, rotation_deg, audio_codec, says_alpha = False, 0, None, False
    video: re.Match[str] | None = None
    with Ffmpeg(arguments, timeout_s=_HEADER_TIMEOUT_S, log_level="info") as ffmpeg:
        try:
            for line in ffmpeg.lines(timeout_s=_HEADER_TIMEOUT_S):
                opened = opened or line.startswith("[info] Input #0")
                stream = _STREAM.match(line)
                if stream is not None and stream["kind"] == "Audio":
                    audio_codec = audio_codec or stream["codec"]
                elif stream is not None and video is None and "(attached pic)" not in stream["rest"]:
                    video = stream
                elif video is not None and _ALPHA_MODE.match(line):
                    says_alpha = True
                elif video is not None and rotation_deg == 0 and (rotation := _ROTATION.match(line)):
                    rotation_deg = round(-float(rotation[1])) % 360
        except TimeoutError:
            raise decoding_timeout() from None
        if video is None:
            raise _no_picture() if opened else refusal(ffmpeg.complaint(path), limits)
    size = _SIZE.search(video["rest"])
    pixels = int(size[1]) * int(size[2]) if size else 0
    if pixels > limits.video_max_pixels:
        raise too_many_pixels(f"{int(size[1])} x {int(size[2])}" if size else "", limits)
    return Header(
        media_type=media_type,
        codec=video["codec"],
        pixels=pixels,
        rotation_deg=rotation_deg,
        audio_codec=audio_codec,
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
    with Ffmpeg(arguments, timeout_s=_AUDIO_TIMEOUT_S, yields=True) as ffmpeg:
        try:
            size = ffmpeg.read_into(memoryview(output), stall_timeout_s=_AUDIO_TIMEOUT_S)
        except TimeoutError:
            return False
    return any(line and not line.startswith(b"#") for line in bytes(output[:size]).splitlines())


def _check_canvas(path: Path, media_type: str, limits: MediaLimits) -> None:
    """Animated pictures say their size in the first bytes; ffmpeg, which may not have it, names another reason."""
    with path.open("rb") as file:
        width, height = claimed_canvas(file.read(SNIFF_BYTES), media_type)
    if width * height > limits.video_max_pixels:
        raise too_many_pixels(f"{width} x {height}", limits)


def _tells_colour_matrix(stream: str) -> bool:
    """Whether the pixel format's notes, such as `tv, bt470bg/bt709/bt709, progressive`, name the matrix."""
    pixel_format = _PIXEL_FORMAT.search(stream)
    notes = pixel_format["notes"].split(", ") if pixel_format else []
    return any(note.split("/")[0] in _MATRICES for note in notes)


def refusal(complaint: str, limits: MediaLimits) -> MediaRejected:
    """The error of a video that ffmpeg refuses or cannot decode to its end."""
    if (codec := _REFUSED_CODEC.search(complaint)) is not None:
        return UnsupportedMedia(f"The video's codec, {codec[1]}, is not supported.", hint="Use H.264 in an MP4 file.")
    if (size := _REFUSED_SIZE.search(complaint)) is not None:
        return too_many_pixels(size[1].replace("x", " x "), limits)
    return MediaRejected(
        f"The video is damaged and cannot be decoded ({complaint}).", hint="Export it again, for instance as MP4."
    )


def too_many_pixels(size: str, limits: MediaLimits) -> MediaRejected:
    """The error of a video whose frames are too large."""
    return MediaRejected(
        f"The video has {size} pixels; at most {limits.video_max_pixels} pixels are allowed.", code="media_too_large"
    )


def still_picture() -> MediaRejected:
    """The error of a picture that does not move."""
    return MediaRejected(
        "The driving video is a still picture.", code="not_an_animation", hint="Use a video or an animated GIF."
    )


def _no_picture() -> MediaRejected:
    return MediaRejected("The file has no video stream.", code="no_video_stream")


def decoding_timeout() -> MediaRejected:
    """The error of a video that costs more time than it may."""
    return MediaRejected("The video takes too long to decode.", code="media_timeout")
