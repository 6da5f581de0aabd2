"""Decoding, network and encoding at the same time: order, bounds, and that an error of one ends the others."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import decoding_children, wait_until
from tests.worker.engine.copying_animator import CopyingAnimator
from worker import media
from worker.engine.animation import animate_video
from worker.engine.overlap import Behind, ahead
from worker.errors import EncodingFailed, JobCanceled, MediaRejected
from worker.jobs import AnimationOptions, VideoFacts
from worker.settings import UNLIMITED


def side_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("ahead", "behind")]


def counting(made: list[int], count: int, closed: list[bool] | None = None) -> Generator[int]:
    try:
        for number in range(count):
            made.append(number)
            yield number
    finally:
        if closed is not None:
            closed.append(True)


def test_ahead_keeps_the_order_and_is_bounded() -> None:
    made: list[int] = []
    taken = []
    for number in ahead(counting(made, 20), room=2):
        wait_until(lambda number=number: len(made) == min(20, number + 4), "it is as far ahead as it may be")
        taken.append(number)
    assert taken == list(range(20))
    assert side_threads() == []


def test_ahead_tells_an_error_where_it_happened() -> None:
    def failing() -> Generator[int]:
        yield 1
        raise ValueError("of the third")

    items = ahead(failing())
    assert next(items) == 1
    with pytest.raises(ValueError, match="third"):
        next(items)
    assert side_threads() == []


def test_who_leaves_ends_what_is_ahead() -> None:
    made: list[int] = []
    closed: list[bool] = []
    items = ahead(counting(made, 10**9, closed))
    assert next(items) == 0
    items.close()
    assert closed == [True]
    assert side_threads() == []


def test_behind_gets_all_in_order_and_is_bounded() -> None:
    go_on, got = threading.Semaphore(0), []

    def work(items: Iterable[int]) -> int:
        for item in items:
            go_on.acquire()
            got.append(item)
        return sum(got)

    given: list[int] = []

    def give_all(behind: Behind[int, int]) -> None:
        for number in range(5):
            behind.give(number)
            given.append(number)

    with Behind(work, room=1) as behind:
        giver = threading.Thread(target=give_all, args=(behind,))
        giver.start()
        wait_until(lambda: given == [0, 1], "one is being worked on, one waits")
        go_on.release(5)
        giver.join()
        assert behind.result() == 10
    assert got == [0, 1, 2, 3, 4]
    assert side_threads() == []


def give(work: Callable[[Iterable[int]], None], count: int, *, leave: bool = False) -> None:
    with Behind(work) as behind:
        for number in range(count):
            behind.give(number)
        if leave:
            raise JobCanceled
        behind.result()


def test_an_error_behind_is_raised_where_items_are_given() -> None:
    def fail(items: Iterable[int]) -> None:
        for _ in items:
            raise ValueError("behind")

    for given in (100, 1):
        with pytest.raises(ValueError, match="behind"):
            give(fail, given)
    assert side_threads() == []


def test_an_error_of_ours_ends_what_is_behind() -> None:
    ends: list[type[BaseException]] = []

    def work(items: Iterable[int]) -> None:
        try:
            for _ in items:
                pass
        except BaseException as error:
            ends.append(type(error))
            raise

    with pytest.raises(JobCanceled):
        give(work, 1, leave=True)
    assert [kind.__name__ for kind in ends] == ["Ended"], "the work does not believe that it has all"
    assert side_threads() == []


@pytest.fixture
def long_clip(short_clip: Path, tmp_path: Path) -> tuple[Path, VideoFacts]:
    """More frames than fit into pipes and queues."""
    facts = media.probe_video(short_clip, UNLIMITED)
    frames = np.concatenate(list(media.read_frames(short_clip, facts, batch_frames=16, square_px=256)))
    path = tmp_path / "long.mp4"
    media.write_video(path, np.tile(frames, (8, 1, 1, 1)), fps=Fraction(facts.fps), width=256, height=256)
    return path, media.probe_video(path, UNLIMITED)


def ffmpeg(kind: str) -> list[int]:
    """The decoders or encoders that run."""
    found = []
    for pid in decoding_children():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if command.startswith(b"/") and (b"libx264" in command) == (kind == "encoder") and b"rawvideo" in command:
            found.append(pid)
    return found


def run(clip: tuple[Path, VideoFacts], output: Path, source: Path, animator: Any) -> None:
    path, facts = clip
    options = AnimationOptions(driving_crop="none", source_crop="none")
    animate_video(source, path, facts, output, animator, options, limits=UNLIMITED, batch_frames=4)


@pytest.mark.parametrize("victim", ["decoder", "encoder"])
def test_an_ffmpeg_that_dies_ends_the_others(
    victim: str, long_clip: tuple[Path, VideoFacts], source: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(_frames_THWC: np.ndarray) -> None:
        for pid in [] if killed else ffmpeg(victim):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    output = tmp_path / "out" / "result.mp4"
    output.parent.mkdir()
    with pytest.raises(MediaRejected if victim == "decoder" else EncodingFailed):
        run(long_clip, output, source, CopyingAnimator(kill_one))
    assert killed
    assert (decoding_children(), side_threads(), list(output.parent.iterdir())) == ([], [], [])


@pytest.mark.parametrize("when", ["while reading", "while drawing"])
def test_a_network_that_fails_ends_the_others(
    when: str, long_clip: tuple[Path, VideoFacts], source: Path, tmp_path: Path
) -> None:
    def fail(_frames_THWC: np.ndarray) -> None:
        if ffmpeg("decoder" if when == "while reading" else "encoder"):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    output = tmp_path / "out" / "result.mp4"
    output.parent.mkdir()
    with pytest.raises(RuntimeError, match="CUDA error"):
        run(long_clip, output, source, CopyingAnimator(fail))
    assert (decoding_children(), side_threads(), list(output.parent.iterdir())) == ([], [], [])


@pytest.mark.parametrize("frozen", ["decoder", "encoder"])
def test_leaving_does_not_wait_for_a_frozen_ffmpeg(
    frozen: str, long_clip: tuple[Path, VideoFacts], source: Path, tmp_path: Path
) -> None:
    def freeze_and_leave(_frames_THWC: np.ndarray) -> None:
        for pid in ffmpeg(frozen):
            os.kill(pid, signal.SIGSTOP)
            raise JobCanceled

    output = tmp_path / "out" / "result.mp4"
    output.parent.mkdir()
    with pytest.raises(JobCanceled):
        run(long_clip, output, source, CopyingAnimator(freeze_and_leave))
    assert (decoding_children(), side_threads(), list(output.parent.iterdir())) == ([], [], [])
