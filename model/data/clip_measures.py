"""What can be said of a clip by looking at its frames once: cuts, blank frames, stillness, and a hash of its looks.

Each frame is reduced to 32 × 32 pixels as it comes, so that a long clip needs 3 KB a frame.

Shapes: T frames, H W height and width, C channels.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MEASURE_SIZE = 96
"""The size at which clips are decoded for measuring and for the contact sheet."""

_SIDE = 32
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BINS = 8
_WINDOW = 8
# Levels are those of 8-bit pixels, 0 to 255.
_CUT_LEAST_CHANGE = 0.16
_CUT_RATIO = 4.0
_SHARP_SHARE, _BLENDED_SHARE = 0.5, 0.25
_FLASH_SHARE = 0.5
_BLACK_LEVEL = 20.0
_BLANK_RANGE = 12.0
_STILL_LEVEL = 4.0
_HASH_FRAMES = 5
_HASH_SIDE = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """What `measure` finds."""

    num_frames: int
    cuts: tuple[int, ...]
    """Numbers of the frames with which another scene begins; the first frame of a clip is 0."""
    blank_frames: tuple[int, ...]
    """Numbers of frames that are black or of one colour."""
    largest_motion: float
    """How far, in levels, the part of the picture that changes most moves away from the first frame."""
    looks: NDArray[np.uint8]
    """A perceptual hash: one packed row of bits for each of five moments."""
    strip_jpeg: bytes
    """The first, middle and last frame side by side, for the contact sheet."""

    @property
    def is_still(self) -> bool:
        """Return whether nothing moves but noise."""
        return self.largest_motion < _STILL_LEVEL


def measure(frames: Iterable[NDArray[np.uint8]]) -> Measures | None:
    """Look at every frame, uint8_HWC of `MEASURE_SIZE`; return None if there is none."""
    small: list[NDArray[np.uint8]] = []
    kept: list[NDArray[np.uint8]] = []
    stride, last = 1, None
    factor = MEASURE_SIZE // _SIDE
    for number, frame in enumerate(frames):
        blocks = frame.reshape(_SIDE, factor, _SIDE, factor, 3)
        small.append(blocks.mean(axis=(1, 3), dtype=np.float32).round().astype(np.uint8))
        if number % stride == 0:
            kept.append(frame)
        if len(kept) > 32:  # the middle is not known before the end
            kept, stride = kept[::2], 2 * stride
        last = frame
    if last is None:
        return None
    small_THWC = np.stack(small)
    luma_THW = small_THWC @ _LUMA
    middle = kept[min(len(kept) - 1, round((len(small) - 1) / 2 / stride))]
    return Measures(
        num_frames=len(small),
        cuts=find_cuts(small_THWC),
        blank_frames=find_blank(luma_THW),
        largest_motion=_largest_motion(luma_THW),
        looks=_looks(luma_THW),
        strip_jpeg=_jpeg(np.concatenate([kept[0], middle, last], axis=1)),
    )


def changes(small_THWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much each frame differs from the one before, 0 (not at all) to 1; the first is 0.

    The geometric mean of two views: what share of the colours is replaced, wherever they are, and how little the
    pictures correlate. Motion leaves the colours, a flicker leaves the shapes; a cut changes both.
    """
    return np.concatenate([[0.0], _differences(small_THWC[:-1], small_THWC[1:])]).astype(np.float32)


def find_cuts(small_THWC: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the first frames of new scenes: changes that are large, and large beside those around them."""
    change_T = changes(small_THWC)
    found = []
    for number in np.flatnonzero(change_T >= _CUT_LEAST_CHANGE):
        start = max(1, number - _WINDOW)
        around = np.delete(change_T[start : number + _WINDOW + 1], number - start)
        usual = float(np.median(around)) if len(around) else 0.0
        if change_T[number] < _CUT_RATIO * usual or change_T[number] < around.max(initial=0.0):
            continue
        if _is_abrupt(change_T, int(number)) and not _is_flash(small_THWC, int(number), float(change_T[number])):
            found.append(int(number))
    return tuple(found)


def find_blank(luma_THW: NDArray[np.float32]) -> tuple[int, ...]:
    """Return the frames that are nearly black, or of one colour all over."""
    # The extremes of blocks, not of pixels: a bird in a blue sky counts, noise does not.
    darkest_T, brightest_T = luma_THW.min(axis=(1, 2)), luma_THW.max(axis=(1, 2))
    return tuple(
        int(number)
        for number in np.flatnonzero((brightest_T - darkest_T < _BLANK_RANGE) | (brightest_T < _BLACK_LEVEL))
    )


def looks_distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of different bits between hashes, over the last two axes."""
    return np.bitwise_count(first ^ second).mean(axis=(-1, -2)) / 8


def _differences(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    replaced = np.abs(_histograms(before) - _histograms(after)).sum(axis=1) / 2
    first, second = _standardised(before @ _LUMA), _standardised(after @ _LUMA)
    unlike = (1 - (first * second).mean(axis=(1, 2)).clip(0, 1)).astype(np.float32)
    return np.sqrt(replaced * unlike)


def _histograms(frames_THWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return shares of colours, smoothed so that a slight change of light does not move a colour from bin to bin."""
    num_frames, num_pixels = len(frames_THWC), frames_THWC.shape[1] * frames_THWC.shape[2]
    rows = np.arange(num_frames)[:, None] * _BINS
    shares = []
    for channel in range(3):
        position = frames_THWC[..., channel].reshape(num_frames, num_pixels) * np.float32(_BINS / 256) - np.float32(0.5)
        position = position.clip(0, _BINS - 1)
        low = np.floor(position).astype(np.int64).clip(0, _BINS - 2)
        high_share = position - low
        counts = np.bincount((rows + low).ravel(), (1 - high_share).ravel(), num_frames * _BINS)
        counts += np.bincount((rows + low + 1).ravel(), high_share.ravel(), num_frames * _BINS)
        shares.append(counts.reshape(num_frames, _BINS))
    return np.concatenate(shares, axis=1).astype(np.float32) / (3 * num_pixels)


def _standardised(luma_THW: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = luma_THW - luma_THW.mean(axis=(1, 2), keepdims=True)
    return centred / (centred.std(axis=(1, 2), keepdims=True) + 1.0)


def _is_abrupt(change_T: NDArray[np.float32], number: int) -> bool:
    """Return whether a change stands alone, or with one neighbour where a frame is blended of two scenes.

    What flies through the picture changes it for several frames, more and more and then less.
    """
    at = {step: float(change_T[number + step]) if 0 < number + step < len(change_T) else 0.0 for step in range(-2, 3)}
    if max(at[-1], at[1]) <= _SHARP_SHARE * at[0]:
        return True
    outside = (at[-2], at[1]) if at[-1] > at[1] else (at[-1], at[2])
    return max(outside) <= _BLENDED_SHARE * at[0]


def _is_flash(small_THWC: NDArray[np.uint8], number: int, change: float) -> bool:
    """Return whether the picture before comes back within three frames: light, or a damaged frame, but no cut."""
    returns = small_THWC[number + 1 : number + 4], small_THWC[number - 1]
    returned = small_THWC[max(0, number - 4) : number - 1], small_THWC[number]
    for others, frame in (returns, returned):
        if len(others) and _differences(np.broadcast_to(frame, others.shape), others).min() < _FLASH_SHARE * change:
            return True
    return False


def _largest_motion(luma_THW: NDArray[np.float32]) -> float:
    """Return the largest change against the first frame, over time, of the 1 % of the blocks that change most."""
    away_THW = np.abs(luma_THW - luma_THW[0])
    return float(np.percentile(away_THW.reshape(len(luma_THW), -1), 99, axis=1).max())


def _jpeg(picture_HWC: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture_HWC).save(file, "JPEG", quality=90)
    return file.getvalue()


def _looks(luma_THW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return which of two neighbouring blocks is brighter, left to right, at five moments."""
    at = np.linspace(0, len(luma_THW) - 1, _HASH_FRAMES).round().astype(int)
    factor = _SIDE // _HASH_SIDE
    blocks = luma_THW[at].reshape(_HASH_FRAMES, _HASH_SIDE, factor, _HASH_SIDE, factor).mean(axis=(2, 4))
    return np.packbits((blocks[:, :, 1:] > blocks[:, :, :-1]).reshape(_HASH_FRAMES, -1), axis=1)
