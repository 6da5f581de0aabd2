"""Still pictures: the source image of an animation, and PNG frames (Pillow and imageio).

`probe_image` says what a file is and refuses what cannot be animated; `load_image` gives its pixels as a person sees
them: upright, in sRGB, transparent parts over white. Both decode with an allow-list of formats, so that none of
Pillow's other decoders ever sees an uploaded byte; TIFF, HEIC, JPEG 2000, PSD, BMP and SVG are refused.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import ExifTags, Image, ImageCms, features

from worker.errors import MediaRejected, MediaTooLarge, UnsupportedMedia
from worker.jobs import ImageFacts
from worker.media_formats import HEADER_MIN_BYTES, SNIFF_BYTES, SOURCE_MEDIA_TYPES, sniff
from worker.settings import UNLIMITED, MediaLimits

BACKGROUND_RGB = (255, 255, 255)
"""What shows through transparent parts: white, as on most pages."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", *(("AVIF",) if features.check("avif") else ()))
_MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with further pictures behind the first, as some phones write it
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}

_JPEG_MAX_SCANS = 64
"""Encoders write about ten. Each one costs a pass over all pixels, and an empty one takes a few bytes of file."""
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # no stuffed zero, no restart, nothing without a length
_JPEG_EOI, _JPEG_SOS = 0xD9, 0xDA

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})


def probe_image(path: Path, limits: MediaLimits) -> ImageFacts:
    """What the picture is; raises `MediaRejected` (or a subclass) when it cannot be a source image.

    The size in the header is checked before a pixel is decoded; then everything is decoded once, so that a truncated
    file is refused here and not in the middle of a job.
    """
    size_bytes = path.stat().st_size
    if size_bytes > limits.image_max_bytes:
        raise MediaTooLarge(f"The picture has {size_bytes} bytes; at most {limits.image_max_bytes} are allowed.")
    with _opened(path, limits) as image:
        media_type = _MEDIA_TYPES[image.format or ""]
        image.load()
        width, height = _upright_size(image)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ImageFacts(media_type=media_type, width=width, height=height, size_bytes=size_bytes, sha256=sha256)


def picture_size(path: Path, limits: MediaLimits) -> tuple[int, int]:
    """Upright width and height from the header alone, checked against `limits`."""
    with _opened(path, limits) as image:
        return _upright_size(image)


def load_image(path: Path, *, square_px: int | None = None) -> np.ndarray:
    """The picture as `uint8_HWC` RGB; with `square_px`, its centre square at that size."""
    with _opened(path, UNLIMITED) as image:
        image.load()
        orientation = _orientation(image)
        picture = _flattened(_in_srgb(image))
    if orientation in _ORIENTATIONS:
        picture = picture.transpose(_ORIENTATIONS[orientation])
    if square_px is not None:
        picture = _centre_square(picture, square_px)
    return np.array(picture)


def write_png(path: Path, frame_HWC: np.ndarray) -> None:
    """Writes `uint8_HWC` RGB without loss."""
    iio.imwrite(path, frame_HWC, extension=".png")


@contextmanager
def _opened(path: Path, limits: MediaLimits) -> Iterator[Image.Image]:
    """The opened picture, its size within `limits`; whatever goes wrong inside becomes a `MediaRejected`."""
    if path.stat().st_size == 0:
        raise MediaRejected("The file is empty.")
    try:
        with warnings.catch_warnings():
            # Sizes are checked against our own limits just below, and a broken EXIF block is no reason to refuse.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                _check_size(image, limits)
                if image.format in ("JPEG", "MPO"):
                    _check_scans(path)
                yield image
    except MediaRejected:
        raise
    except Image.UnidentifiedImageError:
        raise _unidentified(path) from None
    except Image.DecompressionBombError:
        raise MediaRejected(
            f"The picture has more than the {limits.image_max_pixels} pixels that are allowed.", code="media_too_large"
        ) from None
    except Exception as error:  # a damaged file ends in any of a dozen exception types inside Pillow
        raise MediaRejected(
            f"The picture is damaged and cannot be decoded ({_summary(error, path)}).",
            hint="Open it in an image editor and export it again as PNG or JPEG.",
        ) from error


def _unidentified(path: Path) -> MediaRejected:
    # A file with the right first bytes that no decoder takes is damaged, not of an unsupported type.
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    media_type = sniff(head)
    if media_type in SOURCE_MEDIA_TYPES and (media_type != "image/avif" or "AVIF" in _FORMATS):
        return MediaRejected("The picture is damaged: its header cannot be read.")
    if len(head) < HEADER_MIN_BYTES:  # shorter than any header: nothing that could be of another format either
        return MediaRejected("The file is too short to be a picture.")
    return UnsupportedMedia(
        f"The file is not a picture of a supported format ({media_type or 'unknown type'}).",
        hint="Use PNG, JPEG, WebP, AVIF or GIF (its first frame).",
    )


def _summary(error: Exception, path: Path) -> str:
    text = str(error).replace(str(path), "the file").strip() or type(error).__name__
    return text[:120]


def _check_size(image: Image.Image, limits: MediaLimits) -> None:
    width, height = image.size
    if width * height > limits.image_max_pixels:
        raise MediaRejected(
            f"The picture has {width} x {height} pixels; at most {limits.image_max_pixels} pixels are allowed.",
            code="media_too_large",
        )
    if min(width, height) < limits.image_min_side_px:
        raise MediaRejected(
            f"The picture has {width} x {height} pixels; "
            f"its shorter side must have at least {limits.image_min_side_px} pixels.",
            code="media_too_small",
        )


def _check_scans(path: Path) -> None:
    """Refuses a JPEG that says the same pixels over and over: small as a file, minutes of work to decode."""
    scans, at = 0, 2
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # Between segments and inside entropy-coded data the next marker is found the same way, as libjpeg does.
        while (marker := _JPEG_MARKER.search(data, at)) is not None and scans <= _JPEG_MAX_SCANS:
            kind, at = data[marker.end() - 1], marker.end()
            if kind == _JPEG_EOI:
                break
            scans += kind == _JPEG_SOS
            at += max(2, int.from_bytes(data[at : at + 2]))
        del marker  # it holds on to the map, which could not be closed
    if scans > _JPEG_MAX_SCANS:
        raise MediaRejected(
            f"The picture is a JPEG of more than {_JPEG_MAX_SCANS} scans, which would take too long to decode.",
            hint="Open it in an image editor and export it again as PNG or JPEG.",
        )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF is written by everything and often wrong; a broken block means "as it is"
        return 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def _in_srgb(image: Image.Image) -> Image.Image:
    """As 8-bit RGB or RGBA, colours converted by the embedded profile when there is a valid one."""
    alpha = None
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        alpha = _with_alpha(image)
    colours = _eight_bits(image) if alpha is None or image.mode not in ("P", "PA") else alpha.convert("RGB")
    converted = _by_profile(image, colours)
    if alpha is not None:
        converted.putalpha(alpha.getchannel("A"))
    return converted


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion of 16-bit grey clips at 255 instead of scaling.
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(np.rint(values / 257), 0, 255).astype(np.uint8))
    if image.mode in ("CMYK", "L", "RGB"):
        return image
    if image.mode in ("LA", "1", "La"):
        return image.convert("LA").getchannel("L") if image.mode == "La" else image.convert("L")
    return image.convert("RGB")


def _with_alpha(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # The transparent grey value is given in 16 bits: compare before scaling.
        transparent = np.asarray(image) == image.info["transparency"]
        grey = _eight_bits(image).convert("RGBA")
        grey.putalpha(Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8)))
        return grey
    return image.convert("RGBA")


def _by_profile(image: Image.Image, colours: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                colours,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None  # damaged, or of another colour space than the pixels: then the plain conversion
        if converted is not None:
            return converted
    return colours.convert("RGB")


def _flattened(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    background = Image.new("RGBA", image.size, (*BACKGROUND_RGB, 255))
    return Image.alpha_composite(background, image).convert("RGB")


def _centre_square(image: Image.Image, square_px: int) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # Lanczos widens its kernel when it shrinks, so fine patterns are averaged instead of aliased.
    return image.resize((square_px, square_px), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
