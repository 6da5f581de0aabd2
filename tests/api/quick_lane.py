"""A preflight lane that looks at nothing: for tests of the interface alone, which ask hundreds of times."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.preflights import (
    Answer,
    DrivingLook,
    Estimate,
    Mismatch,
    Preflight,
    PreflightLine,
    Preview,
    SourceLook,
    Subject,
)
from worker.settings import Settings

_LOOK = Preflight(
    source=SourceLook(width=64, height=64, subjects=(), subject=None, crop=(0, 0, 64, 64)),
    driving=DrivingLook(
        width=64,
        height=64,
        subjects=(Subject(index=0, box=(8, 8, 32, 32)),),
        subject=0,
        crop=(0, 0, 64, 64),
        frame_count=3,
        frame_rate="10/1",
        duration_s=0.3,
        has_audio=False,
    ),
    reference_frame=0,
    mismatch=Mismatch(score=0.5, level="fair", hint="A hint."),
    estimate=Estimate(frames=3, seconds=None, frames_per_second=None),
    preview=Preview(data="iVBORw0KGgo="),
    warnings=(),
)


@contextmanager
def quick_lane(settings: Settings) -> Iterator[None]:
    """Every question gets the same answer in the block."""
    line, ended = PreflightLine.connect(settings), threading.Event()

    def run() -> None:
        while not ended.is_set():
            line.tell_alive()
            if taken := line.take(0.5):
                line.answer(taken[0], Answer(preflight=_LOOK))

    thread = threading.Thread(target=run, name="quick lane")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        line.close()
