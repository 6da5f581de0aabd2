"""Still pictures: the source image of an animation, and PNG frames.

`probe_image` (in `picture_probe`) says what a file is and refuses what cannot be animated; `load_image` gives its
pixels as a person sees them: upright, in sRGB, transparent parts over white. Both decode in a confined child.
"""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image

from worker import picture_decoder
from worker.media_provenance import png_text
from worker.picture_decoder import BACKGROUND_RGB
from worker.picture_probe import decoded, probe_image, request_for
from worker.provenance import Provenance
from worker.settings import UNLIMITED, MediaLimits
from worker.squares import Framing, Square, scaled_visible

__all__ = [
    "BACKGROUND_RGB",
    "as_png",
    "framed",
    "load_image",
    "load_own_image",
    "own_image_size",
    "probe_image",
    "reflected",
    "resized",
    "write_png",
]


def load_image(path: Path, *, square_px: int | None = None, limits: MediaLimits = UNLIMITED) -> np.ndarray:
    """The picture as `uint8_HWC` RGB; with `square_px`, its centre square at that size."""
    request = request_for(path, limits)._replace(wants="pixels", square_px=square_px)
    return _as_array(*decoded(path, request, limits))


def own_image_size(path: Path, limits: MediaLimits) -> tuple[int, int]:
    """Upright width and height from the header alone, checked against `limits`; decoded in this process.

    For the frames of a local folder, thousands of files of a person's own: a child each would take longer than the
    animation.
    """
    with path.open("rb") as file:
        return picture_decoder.size(file, request_for(path, limits))


def load_own_image(path: Path, *, square_px: int | None = None) -> np.ndarray:
    """As `load_image`, in this process: for the same files as `own_image_size`."""
    request = request_for(path, UNLIMITED)._replace(wants="pixels", square_px=square_px)
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


def reflected(frames_THWC: np.ndarray, square: Square, width: int, height: int, size_px: int) -> np.ndarray:
    """Complete the visible part of `square`, already scaled, to `size_px` a side by reflection at its edges."""
    x0, y0, x1, y1 = scaled_visible(square, width, height, size_px)
    margins = ((0, 0), (y0, size_px - y1), (x0, size_px - x1), (0, 0))
    return np.pad(frames_THWC, margins, mode="symmetric") if any(map(any, margins)) else frames_THWC


def write_png(path: Path, frame_HWC: np.ndarray, provenance: Provenance | None = None) -> None:
    """Writes `uint8_HWC` RGB without loss, and where it comes from."""
    iio.imwrite(path, frame_HWC, extension=".png", pnginfo=provenance and png_text(provenance))


def as_png(frame_HWC: np.ndarray, provenance: Provenance | None = None) -> bytes:
    """The same as bytes."""
    return iio.imwrite("<bytes>", frame_HWC, extension=".png", pnginfo=provenance and png_text(provenance))


def _as_array(width: int, height: int, pixels: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(pixels), np.uint8).reshape(height, width, 3)
