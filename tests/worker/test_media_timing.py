"""From timestamps to a constant rate."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

import pytest

from worker.media_timing import find_timing

NTSC = Fraction(30000, 1001)
MILLISECOND = Fraction(1, 1000)


def in_ticks(fps: Fraction, frames: int, tick_s: Fraction) -> list[int]:
    """Timestamps of an even grid, rounded to ticks."""
    return [round(index / fps / tick_s) for index in range(frames)]


@pytest.mark.parametrize("fps", [NTSC, Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(120)])
@pytest.mark.parametrize("tick_s", [MILLISECOND, Fraction(1, 90000)])
def test_coarse_ticks_are_a_constant_rate(fps: Fraction, tick_s: Fraction) -> None:
    timing = find_timing(in_ticks(fps, 200, tick_s), 0, tick_s, fps)
    assert (timing.fps, timing.frames, timing.variable) == (fps, 200, False)


def test_the_exact_step_beats_a_lying_header() -> None:
    timing = find_timing([1001 * index for index in range(50)], 1001, Fraction(1, 30000), Fraction(90000))
    assert timing.fps == NTSC


def test_without_a_header_the_standard_rate_that_fits_is_taken() -> None:
    assert find_timing(in_ticks(NTSC, 300, MILLISECOND), 33, MILLISECOND, None).fps == NTSC


def test_jitter_drops_and_repeats_nothing() -> None:
    ticks = [40 * index + (7 if index % 3 else -6) for index in range(100)]
    timing = find_timing(ticks, 40, MILLISECOND, Fraction(25))
    assert (timing.fps, timing.frames, timing.variable) == (25, 100, False)


def test_one_lost_frame_drops_and_repeats_nothing() -> None:
    ticks = list(accumulate([1001] * 100 + [2002] + [1001] * 99, initial=0))
    timing = find_timing(ticks, 1001, Fraction(1, 30000), NTSC)
    assert (timing.fps, timing.frames, timing.variable) == (NTSC, 201, False)


def test_two_rates_are_variable_and_keep_the_duration() -> None:
    ticks = list(accumulate([40] * 50 + [100] * 20, initial=0))
    timing = find_timing(ticks, 100, MILLISECOND, Fraction(25))
    assert timing.variable
    assert timing.fps == 25
    assert abs(timing.frames / timing.fps - Fraction(4100, 1000)) <= 1 / timing.fps


def test_gif_delays_of_twelve_frames_a_second() -> None:
    ticks = list(accumulate([8, 8, 9] * 8, initial=0))
    timing = find_timing(ticks, 8, Fraction(1, 100), Fraction(12))
    assert (timing.fps, timing.frames, timing.variable) == (12, 25, False)


@pytest.mark.parametrize("nominal", [None, Fraction(0), Fraction(90000), Fraction(25)])
def test_a_single_frame(nominal: Fraction | None) -> None:
    timing = find_timing([7], 40, MILLISECOND, nominal)
    assert (timing.fps, timing.frames) == (25, 1)


def test_timestamps_that_stand_still_leave_the_order() -> None:
    timing = find_timing([0, 0, 0, 40], 40, MILLISECOND, Fraction(24))
    assert (timing.fps, timing.frames, timing.variable) == (24, 4, False)


def test_the_last_picture_of_an_animation_is_held() -> None:
    ticks = [10 * index for index in range(5)]
    assert not find_timing(ticks, 60, Fraction(1, 100), Fraction(10)).variable
    held = find_timing(ticks, 60, Fraction(1, 100), Fraction(10), holds_last=True)
    assert (held.fps, held.frames, held.variable) == (10, 10, True)
