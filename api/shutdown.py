"""Know at once when this process is told to stop.

Servers end the application only after the last answer: an event stream would keep them from ending for ever. So the
signals are listened to as well; the server's own handlers still run.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_to_stop(call: Callable[[], object]) -> Iterator[None]:
    """Inside the block, `call` is called when SIGTERM or SIGINT arrives; in another than the main thread, never."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {int(number): signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        call()
        handler = before[number]
        if callable(handler):
            handler(number, frame)

    for number in _SIGNALS:
        # What was ignored stays so, and what had no handler still ends the process.
        if callable(before[number]):
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number in _SIGNALS:
            if signal.getsignal(number) is handle:
                signal.signal(number, before[number])
