"""Stages of one animation at the same time: frames are decoded ahead, and encoded behind, in threads of their own.

The network stays in the main thread, where a signal ends it. The others are threads that wait for an ffmpeg: when the
main thread leaves, by whatever error, their children are killed (`worker.ending`) and they are waited for, so that
nothing of an animation outlives it. Between two threads there is a bounded number of items.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from worker.ending import Ended, Ending, endable

T = TypeVar("T")
R = TypeVar("R")


class _Channel(Generic[T]):
    """At most `room` items on their way from one thread to another. Once closed it takes none, broken it gives none."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = self._broken = False

    def put(self, item: T) -> None:
        """Wait for room. Raises Ended when the channel is broken."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or len(self._items) < self._room)
            if self._broken:
                raise Ended
            self._items.append(item)
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """What was put, until it is closed. Raises Ended when it is broken."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._broken or self._closed or bool(self._items))
                if self._broken:
                    raise Ended
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def break_(self) -> None:
        """Whoever waits at either end is to leave."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()


class _Side(Generic[R]):
    """A thread with one piece of work, whose children can be ended."""

    def __init__(self, name: str, work: Callable[[], R], when_done: Callable[[], None]) -> None:
        self._work, self._when_done = work, when_done
        self._ending = Ending()
        self._error: BaseException | None = None
        self._result: list[R] = []
        # Logs and spans of the thread are the animation's.
        run_here = contextvars.copy_context().run
        self._thread = threading.Thread(target=run_here, args=(self._run,), name=name, daemon=True)
        self._thread.start()

    def result(self) -> R:
        """Wait for the work; raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def end(self) -> None:
        """End it wherever it waits, and wait until it has cleaned up."""
        self._ending.end()
        self._thread.join()

    def _run(self) -> None:
        try:
            with endable(self._ending):
                self._result.append(self._work())
        except BaseException as error:
            self._error = error
        finally:
            self._when_done()


def ahead(items: Generator[T], *, room: int = 1) -> Generator[T]:
    """The same items, made in a thread of its own: `room` of them and the one in its hands are ahead of us.

    Closing the generator early ends what makes them.
    """
    channel = _Channel[T](room)

    def fill() -> None:
        try:
            for item in items:
                channel.put(item)
        finally:
            items.close()

    side = _Side("ahead", fill, channel.close)
    try:
        yield from channel
        side.result()
    finally:
        channel.break_()
        side.end()


class Behind(Generic[T, R]):
    """Work on items that are given to it one after the other, in a thread of its own, `room` of them ahead of it.

    Leaving the block without having asked for the result ends the work.
    """

    def __init__(self, work: Callable[[Iterable[T]], R], *, room: int = 1) -> None:
        self._channel = _Channel[T](room)
        self._work = work

    def __enter__(self) -> Self:
        self._side = _Side("behind", lambda: self._work(self._channel), self._channel.break_)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.break_()
        self._side.end()

    def give(self, item: T) -> None:
        """Pass an item on; raise what the work raised, if it has ended."""
        try:
            self._channel.put(item)
        except Ended:
            self._side.result()
            raise

    def result(self) -> R:
        """All items are given: wait for the work and return its result, or raise what it raised."""
        self._channel.close()
        return self._side.result()
