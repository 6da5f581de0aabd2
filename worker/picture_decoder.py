"""The decoding of still pictures with Pillow. For an uploaded file it runs in a confined child (`pictures` starts it).

Only the decoder of the one format that the first bytes tell is imported and let near the file. No numpy and no pydantic
here: the child starts in a third of the time without them.
"""

from __future__ import annotations

import io
import json
import mmap
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import BinaryIO, NamedTuple

from PIL import ExifTags, Image

from worker.errors import MediaRejected

BACKGROUND_RGB = (255, 255, 255)
"""What shows through transparent parts: white, as on most pages."""

_PLUGINS = {
    "image/png": ("PNG", "PngImagePlugin"),
    "image/jpeg": ("JPEG", "JpegImagePlugin"),
    "image/webp": ("WEBP", "WebPImagePlugin"),
    "image/gif": ("GIF", "GifImagePlugin"),
    "image/avif": ("AVIF", "AvifImagePlugin"),
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


class Request(NamedTuple):
    """What is to be done with a picture."""

    media_type: str
    """By its first bytes."""
    max_pixels: int
    min_side_px: int
    square_px: int | None = None
    wants: str = "facts"
    """`facts`: decode it once and say its size. `pixels`: the picture as well."""


class Decoded(NamedTuple):
    """Upright width and height, and the rows of 8-bit RGB if they were asked for."""

    width: int
    height: int
    pixels: bytes = b""


def main(arguments: list[str]) -> None:
    """In the child: a picture on the standard input; on the standard output one line of JSON, then the pixels."""
    request = Request(**json.loads(arguments[0]))
    try:
        with open(0, "rb", closefd=False) as file:
            decoded = decode(file, request)
    except MediaRejected as error:
        answer, pixels = {"code": error.code, "detail": error.detail, "hint": error.hint}, b""
    else:
        answer, pixels = {"width": decoded.width, "height": decoded.height}, decoded.pixels
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pixels)
    sys.stdout.buffer.flush()


def decode(file: BinaryIO, request: Request) -> Decoded:
    """Decode all of the picture; raises MediaRejected."""
    with _opened(file, request) as image:
        image.load()
        if request.wants == "facts":
            return Decoded(*_upright_size(image))
        orientation = _orientation(image)
        picture = _flattened(_in_srgb(image))
        if orientation in _ORIENTATIONS:
            picture = picture.transpose(_ORIENTATIONS[orientation])
        if request.square_px is not None:
            picture = _centre_square(picture, request.square_px)
        return Decoded(*picture.size, picture.tobytes())


def size(file: BinaryIO, request: Request) -> tuple[int, int]:
    """Upright width and height from the header alone; raises MediaRejected."""
    with _opened(file, request) as image:
        return _upright_size(image)


@contextmanager
def _opened(file: BinaryIO, request: Request) -> Iterator[Image.Image]:
    """The opened picture, its size within the limits; whatever goes wrong inside becomes a `MediaRejected`."""
    image_format, plugin = _PLUGINS[request.media_type]
    try:
        with warnings.catch_warnings():
            # Sizes are checked against our own limits just below, and a broken EXIF block is no reason to refuse.
            warnings.simplefilter("ignore")
            module = import_module(f"PIL.{plugin}")
            if image_format == "AVIF":
                vars(module)["DEFAULT_MAX_THREADS"] = 1  # a confined child may have no threads
            with Image.open(file, formats=(image_format,)) as image:
                _check_size(image, request)
                if image_format == "JPEG":
                    _check_scans(file)
                yield image
    except MediaRejected:
        raise
    except Image.UnidentifiedImageError:
        # A file with the right first bytes that its decoder does not take.
        raise MediaRejected("The picture is damaged: its header cannot be read.") from None
    except Image.DecompressionBombError:
        raise MediaRejected(
            f"The picture has more than the {request.max_pixels} pixels that are allowed.", code="media_too_large"
        ) from None
    except Exception as error:  # a damaged file ends in any of a dozen exception types inside Pillow
        summary = str(error).strip()[:120] or type(error).__name__
        raise MediaRejected(
            f"The picture is damaged and cannot be decoded ({summary}).",
            hint="Open it in an image editor and export it again as PNG or JPEG.",
        ) from error


def _check_size(image: Image.Image, request: Request) -> None:
    width, height = image.size
    if width * height > request.max_pixels:
        raise MediaRejected(
            f"The picture has {width} x {height} pixels; at most {request.max_pixels} pixels are allowed.",
            code="media_too_large",
        )
    if min(width, height) < request.min_side_px:
        raise MediaRejected(
            f"The picture has {width} x {height} pixels; "
            f"its shorter side must have at least {request.min_side_px} pixels.",
            code="media_too_small",
        )


def _check_scans(file: BinaryIO) -> None:
    """Refuses a JPEG that says the same pixels over and over: small as a file, minutes of work to decode."""
    scans, at = 0, 2
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
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
    if image.mode.startswith("I"):
        # Pillow's own conversion of 16-bit grey clips at 255 instead of scaling.
        return image.convert("I").point([round(value / 257) for value in range(1 << 16)], "L")
    if image.mode in ("CMYK", "L", "RGB"):
        return image
    if image.mode in ("LA", "1", "La"):
        return image.convert("LA").getchannel("L") if image.mode == "La" else image.convert("L")
    return image.convert("RGB")


def _with_alpha(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # The transparent grey value is given in 16 bits: compare before scaling.
        transparent = image.info["transparency"]
        grey = _eight_bits(image).convert("RGBA")
        grey.putalpha(image.convert("I").point([255 * (value != transparent) for value in range(1 << 16)], "L"))
        return grey
    return image.convert("RGBA")


def _by_profile(image: Image.Image, colours: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        from PIL import ImageCms

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
