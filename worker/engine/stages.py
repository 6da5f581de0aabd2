"""Where the time of an animation goes: download, decode, infer, encode, upload. They interleave, each has its own."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

Stage = Literal["download", "decode", "infer", "encode", "upload"]
STAGES: tuple[Stage, ...] = ("download", "decode", "infer", "encode", "upload")
T = TypeVar("T")


class Stages:
    """A stopwatch for each stage; the innermost one runs, those around it stand still."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self._running: list[Stage] = []
        self._since_s = 0.0

    @contextmanager
    def of(self, stage: Stage) -> Iterator[None]:
        """The block belongs to `stage`, but for the blocks of other stages inside it."""
        self._note()
        self._running.append(stage)
        try:
            yield
        finally:
            self._note()
            self._running.pop()

    def each(self, stage: Stage, items: Iterable[T]) -> Generator[T]:
        """The same items; the time it takes to make them belongs to `stage`."""
        iterator = iter(items)
        try:
            while True:
                with self.of(stage):
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                yield item
        finally:
            # Whoever leaves early ends what stands behind (an ffmpeg), as without us.
            if hasattr(iterator, "close"):
                iterator.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _note(self) -> None:
        now_s = time.monotonic()
        if self._running:
            self.seconds[self._running[-1]] += now_s - self._since_s
        self._since_s = now_s
