"""A discrete-event simulation of stations with servers and one queue each, first come, first served.

A job visits stations one after the other; a station's servers may be of different kinds, and how long a job takes may
depend on the kind. Of several free servers the one that has waited longest takes the job, as workers that wait at one
Redis list do. Times are seconds.
"""

import heapq
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_ARRIVES, _ENDS = 0, 1


class Visit(NamedTuple):
    """A job at a station: how long it takes there by each kind of server."""

    station: str
    seconds: Mapping[str, float]


class Arrival(NamedTuple):
    """A job: when it comes, and where it goes."""

    at_s: float
    visits: Sequence[Visit]


@dataclass
class Station:
    """Servers, given by the kind of each; with `room`, so many may wait, and who comes then is refused."""

    name: str
    servers: Sequence[str]
    room: int | None = None
    idle: deque[str] = field(init=False)
    waiting: deque[tuple[int, float]] = field(init=False, default_factory=deque)
    busy_s: float = field(init=False, default=0.0)
    longest_queue: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.idle = deque(self.servers)


@dataclass
class Outcome:
    """What happened to the jobs, by their number."""

    waits_s: dict[str, list[float]]
    """At each station, of each visit, in the order in which they were begun."""
    done_at_s: dict[int, float]
    refused: int
    ended_at_s: float
    stations: dict[str, Station]

    def utilization(self, station: str) -> float:
        """The share of the time that the station's servers were busy, on average; 0 to 1."""
        found = self.stations[station]
        return found.busy_s / (len(found.servers) * self.ended_at_s) if self.ended_at_s else 0.0


def simulate(arrivals: Iterable[Arrival], stations: Sequence[Station]) -> Outcome:
    """Run the jobs, in the order of their arrival, through new stations until the last is done."""
    by_name = {station.name: station for station in stations}
    outcome = Outcome({station.name: [] for station in stations}, {}, 0, 0.0, by_name)
    jobs: dict[int, tuple[Sequence[Visit], int]] = {}
    coming = iter(arrivals)
    events: list[tuple[float, int, int, int, str]] = []
    _bring_next(coming, jobs, events, 0)
    brought = 1
    while events:
        now_s, kind, _, job, server = heapq.heappop(events)
        visits, place = jobs[job]
        if kind == _ENDS:
            station = by_name[visits[place].station]
            station.idle.append(server)
            _begin_waiting(station, jobs, events, now_s, outcome)
            place += 1
            jobs[job] = (visits, place)
            outcome.ended_at_s = now_s
        else:
            _bring_next(coming, jobs, events, brought)
            brought += 1
        if place == len(visits):
            outcome.done_at_s[job] = now_s
            del jobs[job]
            continue
        station = by_name[visits[place].station]
        if station.room is not None and not station.idle and len(station.waiting) >= station.room:
            outcome.refused += 1
            del jobs[job]
            continue
        station.waiting.append((job, now_s))
        _begin_waiting(station, jobs, events, now_s, outcome)
        station.longest_queue = max(station.longest_queue, len(station.waiting))
    return outcome


def poisson(rate_per_s: float, count: int, random_: random.Random) -> Iterator[float]:
    """The times of `count` arrivals that know nothing of each other."""
    at_s = 0.0
    for _ in range(count):
        at_s += random_.expovariate(rate_per_s)
        yield at_s


def _bring_next(
    coming: Iterator[Arrival],
    jobs: dict[int, tuple[Sequence[Visit], int]],
    events: list[tuple[float, int, int, int, str]],
    number: int,
) -> None:
    arrival = next(coming, None)
    if arrival is not None:
        jobs[number] = (arrival.visits, 0)
        heapq.heappush(events, (arrival.at_s, _ARRIVES, number, number, ""))


def _begin_waiting(
    station: Station,
    jobs: dict[int, tuple[Sequence[Visit], int]],
    events: list[tuple[float, int, int, int, str]],
    now_s: float,
    outcome: Outcome,
) -> None:
    while station.waiting and station.idle:
        job, since_s = station.waiting.popleft()
        server = station.idle.popleft()
        visits, place = jobs[job]
        takes_s = visits[place].seconds[server]
        station.busy_s += takes_s
        outcome.waits_s[station.name].append(now_s - since_s)
        heapq.heappush(events, (now_s + takes_s, _ENDS, job, job, server))
