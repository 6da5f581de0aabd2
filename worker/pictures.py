"""Still pictures: the source image of an animation, and PNG frames.

`probe_image` says what a file is and refuses what cannot be animated; `load_image` gives its pixels as a person sees
them: upright, in sRGB, transparent parts over white. Both decode in a confined child (`picture_decoder`), with an
allow-list of formats: a decoder that crashes, eats the memory or never ends is an error here and nothing more. TIFF,
HEIC, JPEG 2000, PSD, BMP and SVG are refused by their first bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, features

from worker import logs, picture_decoder
from worker.confined_process import Answer, ask
from worker.confinement import Limits
from worker.errors import AnimationError, MediaRejected, MediaTooLarge, UnsupportedMedia
from worker.jobs import ImageFacts
from worker.media_formats import HEADER_MIN_BYTES, SNIFF_BYTES, SOURCE_MEDIA_TYPES, sniff
from worker.picture_decoder import BACKGROUND_RGB, Request
from worker.settings import UNLIMITED, MediaLimits
from worker.squares import Framing, reflected, scaled_visible

__all__ = [
    "BACKGROUND_RGB",
    "as_png",
    "framed",
    "load_image",
    "load_own_image",
    "own_image_size",
    "probe_image",
    "resized",
    "write_png",
]

_MEDIA_TYPES = SOURCE_MEDIA_TYPES if features.check("avif") else SOURCE_MEDIA_TYPES - {"image/avif"}
_DECODER = ("run", picture_decoder.__name__)
_OPEN_FILES = 32
_MEMORY_BYTES = 512 << 20
_MEMORY_BYTES_PER_PIXEL = 48
"""The most that is needed at once: several copies of four bytes, and of a picture's frames."""
_HEADER_MAX_BYTES = 4096
_REFUSAL_CODES = frozenset({"media_rejected", "media_too_large", "media_too_small"})

log = logs.get_logger(__name__)


def probe_image(path: Path, limits: MediaLimits) -> ImageFacts:
    """What the picture is; raises `MediaRejected` (or a subclass) when it cannot be a source image.

    The size in the header is checked before a pixel is decoded; then everything is decoded once, so that a truncated
    file is refused here and not in the middle of a job.
    """
    size_bytes = path.stat().st_size
    if size_bytes > limits.image_max_bytes:
        raise MediaTooLarge(f"The picture has {size_bytes} bytes; at most {limits.image_max_bytes} are allowed.")
    request = _request(path, limits)
    width, height, _ = _decoded(path, request, limits)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ImageFacts(media_type=request.media_type, width=width, height=height, size_bytes=size_bytes, sha256=sha256)


def load_image(path: Path, *, square_px: int | None = None, limits: MediaLimits = UNLIMITED) -> np.ndarray:
    """The picture as `uint8_HWC` RGB; with `square_px`, its centre square at that size."""
    request = _request(path, limits)._replace(wants="pixels", square_px=square_px)
    return _as_array(*_decoded(path, request, limits))


def own_image_size(path: Path, limits: MediaLimits) -> tuple[int, int]:
    """Upright width and height from the header alone, checked against `limits`; decoded in this process.

    For the frames of a local folder, thousands of files of a person's own: a child each would take longer than the
    animation.
    """
    with path.open("rb") as file:
        return picture_decoder.size(file, _request(path, limits))


def load_own_image(path: Path, *, square_px: int | None = None) -> np.ndarray:
    """As `load_image`, in this process: for the same files as `own_image_size`."""
    request = _request(path, UNLIMITED)._replace(wants="pixels", square_px=square_px)
    with path.open("rb") as file:
        return _as_array(*picture_decoder.decode(file, request))


def framed(picture_HWC: np.ndarray, framing: Framing | None) -> np.ndarray:
    """The wanted part of a picture at the wanted size, reflected where its square reaches outside."""
    if framing is None:
        return picture_HWC
    if framing.square is None:
        return resized(picture_HWC, framing.width, framing.height)
    height, width = picture_HWC.shape[:2]
    box = framing.square.visible(width, height)
    x0, y0, x1, y1 = scaled_visible(framing.square, width, height, framing.width)
    part_HWC = resized(picture_HWC, x1 - x0, y1 - y0, box)
    return reflected(part_HWC[None], framing.square, width, height, framing.width)[0]


def resized(
    picture_HWC: np.ndarray, width: int, height: int, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """The picture, or the part of it in `box` (left, top, right, bottom), at this size."""
    # Lanczos widens its kernel when it shrinks, so fine patterns are averaged instead of aliased.
    image = Image.fromarray(np.ascontiguousarray(picture_HWC))
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS, box=box))


def write_png(path: Path, frame_HWC: np.ndarray) -> None:
    """Writes `uint8_HWC` RGB without loss."""
    iio.imwrite(path, frame_HWC, extension=".png")


def as_png(frame_HWC: np.ndarray) -> bytes:
    """The same as bytes."""
    return iio.imwrite("<bytes>", frame_HWC, extension=".png")


def _request(path: Path, limits: MediaLimits) -> Request:
    """How the file is to be opened, by its first bytes alone. Raises MediaRejected when no decoder may see it."""
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    if not head:
        raise MediaRejected("The file is empty.")
    media_type = sniff(head)
    if media_type in _MEDIA_TYPES:
        return Request(media_type, limits.image_max_pixels, limits.image_min_side_px)
    if len(head) < HEADER_MIN_BYTES:  # shorter than any header: nothing that could be of another format either
        raise MediaRejected("The file is too short to be a picture.")
    raise UnsupportedMedia(
        f"The file is not a picture of a supported format ({media_type or 'unknown type'}).",
        hint="Use PNG, JPEG, WebP, AVIF or GIF (its first frame).",
    )


def _decoded(path: Path, request: Request, limits: MediaLimits) -> tuple[int, int, bytes]:
    """What a confined child makes of the picture."""
    confined = Limits(
        cpu_s=math.ceil(limits.image_timeout_s),
        memory_bytes=_MEMORY_BYTES + _MEMORY_BYTES_PER_PIXEL * limits.image_max_pixels,
        open_files=_OPEN_FILES,
        processes=0,
    )
    most_bytes = _HEADER_MAX_BYTES + (3 * limits.image_max_pixels if request.wants == "pixels" else 0)
    try:
        with path.open("rb") as file:
            program = (*_DECODER, json.dumps(request._asdict()))
            answer = ask(program, confined, stdin=file, max_bytes=most_bytes, timeout_s=limits.image_timeout_s)
    except TimeoutError:
        raise _too_slow() from None
    except OverflowError:
        raise _crashed() from None
    if answer.status == -signal.SIGXCPU:
        raise _too_slow()
    if answer.status < 0:
        log.warning("picture_decoder_crashed", status=answer.status, size_bytes=path.stat().st_size)
        raise _crashed()
    if answer.status > 0:
        log.error("picture_decoder_failed", status=answer.status, errors=answer.errors.decode("utf-8", "replace"))
        raise AnimationError("The picture decoder does not work.", retryable=True)
    return _read(answer, request)


def _read(answer: Answer, request: Request) -> tuple[int, int, bytes]:
    """The child's answer, believed as far as it fits together: a decoder that was taken over writes what it likes."""
    header, _, pixels = answer.output.partition(b"\n")
    try:
        said = json.loads(header)
        if said.get("code") in _REFUSAL_CODES:
            hint = said["hint"]
            raise MediaRejected(str(said["detail"]), code=said["code"], hint=None if hint is None else str(hint))
        width, height = int(said["width"]), int(said["height"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _crashed() from None
    expected = 3 * width * height if request.wants == "pixels" else 0
    if min(width, height) < 1 or width * height > request.max_pixels or len(pixels) != expected:
        raise _crashed()
    if request.square_px not in (None, width) or request.square_px not in (None, height):
        raise _crashed()
    return width, height, pixels


def _as_array(width: int, height: int, pixels: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(pixels), np.uint8).reshape(height, width, 3)


def _too_slow() -> MediaRejected:
    return MediaRejected("The picture takes too long to decode.", code="media_timeout")


def _crashed() -> MediaRejected:
    return MediaRejected(
        "The picture is damaged: its decoder crashed on it.",
        hint="Open it in an image editor and export it again as PNG or JPEG.",
    )
