"""A clip with damaged frames in its middle: which they are, and where in time the whole ones belong.

ffmpeg decodes such a clip on when it is let. What it then gives for a frame is one of three things: the frame; a
picture put together from what was left, which it says of itself; nothing. The last two are places in which nothing is
known of the driver's motion. What the packets say of time is mostly still there, and where it is not, the rate tells
how many frames a hole has had.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from worker.media_timing import STANDARD_RATES, find_timing

_PACKET = re.compile(r"^\[vist#[^\]]*\] \[info\] demuxer\+ffmpeg -> .*? pkt_pts:(-?\d+) ")
_FRAME = re.compile(r"\[info\] decoder -> pts:(-?\d+) ")
_CORRUPT = "corrupt decoded frame"
_DURATION = re.compile(r"^\[info\] +Duration: (\d+):(\d+):([\d.]+),")
_CUT_SHORT = ("partial file", "Error during demuxing", "File ended prematurely", "Truncating packet")
_LEAST_WHOLE = Fraction(1, 2)
_LEAST_LENGTH = 0.9
"""Of what the header says: where the container's own structure is damaged, ffmpeg may find nothing of the rest."""
_NEAR_PLACES = 0.3
_NEAR_RATE = 0.03


class Repaired(NamedTuple):
    """The even grid of a damaged clip."""

    fps: Fraction
    frames: int
    damaged: tuple[tuple[int, int], ...]
    """Places without a whole frame: first and last of each stretch. Never empty."""
    variable: bool
    """Whether its frames lie on no even grid."""


@dataclass(slots=True)
class DamageNotes:
    """What ffmpeg's log (with `-debug_ts`, at `info`) says of packets and frames."""

    packets: set[int] = field(default_factory=set)
    """When each packet is to be shown, in ticks."""
    corrupt: set[int] = field(default_factory=set)
    cut_short: bool = False
    claimed_s: float = 0.0
    """How long the clip is as its header has it; 0 when that says nothing."""
    _next_is_corrupt: bool = False

    def take(self, line: str) -> None:
        """Note a line. (Those of the decoder come in order, because one thread writes them.)"""
        if (packet := _PACKET.search(line)) is not None:
            self.packets.add(int(packet[1]))
        elif _CORRUPT in line:
            self._next_is_corrupt = True
        elif (frame := _FRAME.search(line)) is not None:
            if self._next_is_corrupt:
                self.corrupt.add(int(frame[1]))
            self._next_is_corrupt = False
        elif not self.packets and (claimed := _DURATION.match(line)) is not None:
            self.claimed_s = 3600 * int(claimed[1]) + 60 * int(claimed[2]) + float(claimed[3])
        elif any(words in line for words in _CUT_SHORT):
            self.cut_short = True


def repair(
    ticks: Sequence[int], notes: DamageNotes, last_ticks: int, tick_s: Fraction, nominal: Fraction | None
) -> Repaired | None:
    """The grid of a clip whose decoded frames are shown at `ticks`; None when too little is left of it.

    That is so when it is cut short, when its first or last frame is not whole (nobody knows then how long it was), and
    when fewer than half of its frames are.
    """
    wanted = sorted(notes.packets | set(ticks))
    whole = set(ticks) - notes.corrupt
    if notes.cut_short or len(wanted) < 2 or wanted[0] not in whole or wanted[-1] not in whole:
        return None
    timing = find_timing(wanted, last_ticks, tick_s, nominal)
    fps, even = _rate_with_holes(wanted, tick_s, timing.fps, nominal)
    places = [round((tick - wanted[0]) * tick_s * fps) for tick in wanted]
    frames = places[-1] + 1 if even else max(timing.frames, places[-1] + 1)
    if len(whole) < _LEAST_WHOLE * frames or frames / fps < _LEAST_LENGTH * notes.claimed_s:
        return None
    damaged: list[int] = []
    for (place, tick), following in zip(zip(places, wanted, strict=True), [*places[1:], frames], strict=True):
        # A place shows the last frame before it. On an even grid one without a frame of its own is a hole; in a clip
        # of changing rate it may be a frame that was shown for longer.
        first = place + 1 if tick in whole else place
        if even or tick not in whole:
            damaged += range(first, following)
    # Damage that is in no frame is none that could be worked around here.
    return Repaired(fps, frames, _stretches(damaged), not even) if damaged else None


def _rate_with_holes(
    ticks: Sequence[int], tick_s: Fraction, found: Fraction, nominal: Fraction | None
) -> tuple[Fraction, bool]:
    """The rate on whose grid all frames lie, holes allowed, and True; else `found` and False."""
    near = [rate for rate in STANDARD_RATES if abs(float(rate / found) - 1) <= _NEAR_RATE]
    off_grid = {
        rate: _farthest(ticks, float(tick_s * rate)) for rate in (found, *near, *([nominal] if nominal else ()))
    }
    best = min(off_grid, key=off_grid.__getitem__)
    return (best, True) if off_grid[best] <= _NEAR_PLACES else (found, False)


def _farthest(ticks: Sequence[int], frames_per_tick: float) -> float:
    """How far, in frames, the worst tick is from the nearest place; far when two share one."""
    exact = [(tick - ticks[0]) * frames_per_tick for tick in ticks]
    if any(round(after) <= round(before) for before, after in pairwise(exact)):
        return 1.0
    return max(abs(place - round(place)) for place in exact)


def _stretches(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)
