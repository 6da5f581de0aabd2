"""Places that are used again and again: which one is next."""

from collections.abc import Callable
from typing import Generic, TypeVar

Place = TypeVar("Place")


class Rotation(Generic[Place]):
    """A few places, each made when it is first needed, used in turn."""

    def __init__(self, count: int, make: Callable[[], Place]) -> None:
        self._count, self._make = count, make
        self._places: list[Place] = []
        self._turn = 0

    def next(self) -> Place:
        """Return the place that was used longest ago."""
        if len(self._places) < self._count:
            self._places.append(self._make())
        place = self._places[self._turn % self._count]
        self._turn += 1
        return place


class FreePlaces(Generic[Place]):
    """Places that nobody uses. One that is taken and never given back is simply gone."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._free: list[Place] = []

    def take(self, fits: Callable[[Place], bool]) -> Place | None:
        """Return a free place that fits, which is the caller's now; None when there is none."""
        for number, place in enumerate(self._free):
            if fits(place):
                return self._free.pop(number)
        return None

    def give_back(self, place: Place) -> None:
        """Make a place free. The one that is free for longest goes when there are too many."""
        self._free = [*self._free, place][-self._kept :]
