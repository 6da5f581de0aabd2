"""Child processes that one thread waits for, and that another one may end.

A signal ends a wait of the main thread only. What waits elsewhere is ended by what it waits for: the child is killed,
its pipes end, and the thread that started it cleans up as after any other child.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Ended(Exception):
    """Nobody waits for this any more. Only threads that were ended see it."""


class Ending:
    """All children that are started in a context (of a thread) in which it is `current`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kills: list[Callable[[], None]] = []
        self._over = False

    @property
    def over(self) -> bool:
        """Whether `end` was called."""
        return self._over

    def end(self) -> None:
        """Kill the children. One that is started afterwards is killed at once."""
        with self._lock:
            self._over = True
            for kill in self._kills:
                kill()

    def watch(self, kill: Callable[[], None]) -> None:
        """From now on `end` calls this. It is called under a lock and may not wait."""
        with self._lock:
            self._kills.append(kill)
            if self._over:
                kill()

    def forget(self, kill: Callable[[], None]) -> None:
        """The child is about to be reaped: its number may soon be another's."""
        with self._lock:
            self._kills.remove(kill)


_current: ContextVar[Ending | None] = ContextVar("ending", default=None)


def current() -> Ending | None:
    """Who may end what is started here."""
    return _current.get()


@contextmanager
def endable(ending: Ending) -> Iterator[None]:
    """Children that are started in the block can be ended by `ending`."""
    token = _current.set(ending)
    try:
        yield
    finally:
        _current.reset(token)
