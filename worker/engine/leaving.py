"""A worker that is told to go in mid-job: its child drops the animation at once, and hands it over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from worker.errors import WorkerLeaves

_SIGNALS = (signal.SIGTERM, signal.SIGQUIT)
"""What Celery sends to the child; the second with `REMAP_SIGTERM=SIGQUIT`."""


@contextmanager
def leaving_when_told() -> Iterator[None]:
    """In the block, such a signal raises WorkerLeaves in the main thread; further ones are not listened to.

    Celery sends it when the time of the worker to finish is over (`ANIMATO_SHUTDOWN_GRACE_S`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signals here
        return

    def leave(_number: int, _frame: FrameType | None) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise WorkerLeaves

    before = {number: signal.signal(number, leave) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
