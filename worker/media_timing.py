"""From the timestamps of decoded frames to one constant frame rate.

A clip has a *constant* rate when an even grid exists on which no frame is moved by more than one place or 45 ms (the
earliest that a person notices of sound and picture, ITU-R BT.1359): then all decoded frames are kept and only the
grid's rate is remembered. The coarse ticks of Matroska and GIF, the jitter of phones and a single lost frame are no
reason to drop or repeat frames. Any other clip is *variable*: it is resampled to the standard rate
nearest to its median frame interval, each place of the new grid showing the frame that is nearest in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor
from statistics import median

STANDARD_RATES = tuple(
    Fraction(*rate)
    for rate in (
        *((n, 1) for n in (1, 2, 3, 4, 5, 6, 8, 10, 12)),
        (15000, 1001),
        (15, 1),
        (16, 1),
        (20, 1),
        (24000, 1001),
        (24, 1),
        (25, 1),
        (30000, 1001),
        (30, 1),
        (48000, 1001),
        (48, 1),
        (50, 1),
        (60000, 1001),
        (60, 1),
        (90, 1),
        (100, 1),
        (120000, 1001),
        (120, 1),
        (144, 1),
        (240, 1),
    )
)
_FALLBACK_RATE = Fraction(25)
_SANE_RATE = 1000
_SNAP = 0.03  # how far from a standard rate the median interval may be
_TICK_PLACES = 0.499  # of a frame interval: more than that is never the mere rounding to ticks
_MOVED_PLACES = 1.01
_MOVED_S = 0.045
_FINE_STEP_TICKS = 100  # so many ticks per frame make the exact step more trustworthy than any header
_MAX_DENOMINATOR = 1001


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """The constant rate of a clip and its number of frames at that rate."""

    fps: Fraction
    frames: int
    variable: bool


def find_timing(
    ticks: Sequence[int],
    last_ticks: int,
    tick_s: Fraction,
    nominal: Fraction | None,
    *,
    holds_last: bool = False,
) -> Timing:
    """The timing of frames shown at `ticks`, the last one for `last_ticks` (0: unknown).

    `nominal` is the rate the container claims: believed where the timestamps agree with it. `holds_last`: the time of
    the last frame is meant, as in animated pictures; videos often have it wrong, so there it decides nothing.
    """
    count = len(ticks)
    usable = nominal if nominal is not None and 0 < nominal <= _SANE_RATE else None
    steps = [after - before for before, after in pairwise(ticks)]
    if not steps:
        own = 1 / (last_ticks * tick_s) if last_ticks > 0 else _FALLBACK_RATE
        return Timing(fps=usable or _simple(own), frames=count, variable=False)
    if min(steps) <= 0:  # timestamps that mean nothing: what is left is the order of the frames
        return Timing(fps=usable or _FALLBACK_RATE, frames=count, variable=False)
    meant = [*ticks, ticks[-1] + last_ticks] if holds_last and last_ticks > 0 else ticks
    constant = _constant_rate(meant, tick_s, usable)
    if constant is not None:
        return Timing(fps=constant, frames=count, variable=False)
    if last_ticks <= 0:
        last_ticks = round(median(steps))
    fps = _nominal_rate(1 / (Fraction(median([*steps, last_ticks])) * tick_s))
    last = (ticks[-1] - ticks[0]) * tick_s * fps
    end = last + last_ticks * tick_s * fps
    return Timing(fps=fps, frames=max(_nearest(end), _nearest(last) + 1), variable=True)


def _constant_rate(ticks: Sequence[int], tick_s: Fraction, nominal: Fraction | None) -> Fraction | None:
    steps = [after - before for before, after in pairwise(ticks)]
    if min(steps) == max(steps) >= _FINE_STEP_TICKS:
        return 1 / (steps[0] * tick_s)
    mean = len(steps) / ((ticks[-1] - ticks[0]) * tick_s)
    near = sorted(STANDARD_RATES, key=lambda rate: abs(float(rate / mean) - 1))[:2]
    candidates = [*([nominal] if nominal else []), *near, _simple(mean)]
    off_grid = {rate: _farthest_from_grid(ticks, float(tick_s * rate)) for rate in candidates}
    for rate in candidates:  # the rounding of timestamps to ticks explains one tick, so the first such rate is it
        if off_grid[rate] <= min(float(tick_s * rate) * 1.01, _TICK_PLACES):
            return rate
    for group in (candidates[:-1], candidates[-1:]):  # the plain mean only when no better-known rate will do
        best = min(group, key=off_grid.__getitem__)
        if off_grid[best] <= min(_MOVED_PLACES, _MOVED_S * float(best)):
            return best
    return None


def _farthest_from_grid(ticks: Sequence[int], frames_per_tick: float) -> float:
    """How far, in frames, the worst timestamp is from its place."""
    return max(abs((tick - ticks[0]) * frames_per_tick - index) for index, tick in enumerate(ticks))


def _nominal_rate(rate: Fraction) -> Fraction:
    nearest = min(STANDARD_RATES, key=lambda standard: abs(float(standard / rate) - 1))
    return nearest if abs(float(nearest / rate) - 1) <= _SNAP else _simple(rate)


def _simple(rate: Fraction) -> Fraction:
    simple = rate.limit_denominator(_MAX_DENOMINATOR)
    return simple if simple > 0 else rate


def _nearest(value: Fraction) -> int:
    """Rounded, halves away from zero: as ffmpeg's `fps` filter does."""
    return floor(value + Fraction(1, 2))
