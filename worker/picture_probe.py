"""What a source picture is, before any of its pixels are wanted: without numpy, which the API's image does not have.

A confined child decodes it (`picture_decoder`), with an allow-list of formats: a decoder that crashes, eats the memory
or never ends is an error here and nothing more. TIFF, HEIC, JPEG 2000, PSD, BMP and SVG are refused by their first
bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
from pathlib import Path

from PIL import features

from worker import logs, picture_decoder
from worker.confined_process import Answer, ask
from worker.confinement import Limits
from worker.errors import AnimationError, MediaRejected, MediaTooLarge, UnsupportedMedia
from worker.jobs import ImageFacts
from worker.media_formats import HEADER_MIN_BYTES, SNIFF_BYTES, SOURCE_MEDIA_TYPES, sniff
from worker.picture_decoder import Request
from worker.settings import MediaLimits

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
    request = request_for(path, limits)
    width, height, _ = decoded(path, request, limits)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ImageFacts(media_type=request.media_type, width=width, height=height, size_bytes=size_bytes, sha256=sha256)


def request_for(path: Path, limits: MediaLimits) -> Request:
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


def decoded(path: Path, request: Request, limits: MediaLimits) -> tuple[int, int, bytes]:
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


def _too_slow() -> MediaRejected:
    return MediaRejected("The picture takes too long to decode.", code="media_timeout")


def _crashed() -> MediaRejected:
    return MediaRejected(
        "The picture is damaged: its decoder crashed on it.",
        hint="Open it in an image editor and export it again as PNG or JPEG.",
    )
