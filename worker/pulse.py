"""The file that says a worker's parent is well: touched every two seconds, looked at by its age."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Protocol

_EVERY_S = 2.0
_QUIET_FOR_S = 10.0


class Consumer(Protocol):
    """The part of Celery's consumer that is looked at."""

    connection: object | None
    """None while the broker is away and the consumer does nothing but try to reach it."""


class Pulse:
    """Touches the file as long as the parent does what it should.

    That is: its timer beats, whatever its children do; or it waits for a broker that is away. Then no timer beats, and
    yet nobody must take it for dead: its children work on, and to restart it would cost their work and help nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beaten_at_s = time.monotonic()
        self._consumer: Consumer | None = None

    def beat(self) -> None:
        """Called by the parent's timer."""
        self._beaten_at_s = time.monotonic()

    def follow(self, consumer: Consumer) -> None:
        """Begin, in a thread; called again after each reconnection."""
        is_new = self._consumer is None
        self._consumer = consumer
        self.beat()
        if is_new:
            threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def is_well(self, now_s: float) -> bool:
        """Whether the parent does what it should."""
        is_waiting = self._consumer is not None and self._consumer.connection is None
        return is_waiting or now_s - self._beaten_at_s < _QUIET_FOR_S

    def _run(self) -> None:
        while True:
            if self.is_well(time.monotonic()):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch()
            time.sleep(_EVERY_S)
