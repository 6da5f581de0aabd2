"""The simulator against what queueing theory knows exactly."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from benchmarks.queueing import Arrival, Outcome, Station, Visit, poisson, simulate

JOBS = 40_000


def run(rate: float, servers: int, service: Iterator[float], *, seed: int = 1, room: int | None = None) -> Outcome:
    arrivals = (
        Arrival(at_s, [Visit("workers", {"cpu": next(service)})]) for at_s in poisson(rate, JOBS, random.Random(seed))
    )
    return simulate(arrivals, [Station("workers", ["cpu"] * servers, room)])


def exponential(mean_s: float, seed: int = 1) -> Iterator[float]:
    random_ = random.Random(1000 + seed)
    while True:
        yield random_.expovariate(1 / mean_s)


def always(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def mean_wait(*outcomes: Outcome) -> float:
    waits = [wait for outcome in outcomes for wait in outcome.waits_s["workers"]]
    return math.fsum(waits) / len(waits)


def several(rate: float, servers: int) -> list[Outcome]:
    """Five runs with exponential times: the mean of one alone is 4% off in 1 of 3."""
    return [run(rate, servers, exponential(1.0, seed), seed=seed) for seed in range(5)]


def erlang_c(servers: int, offered: float) -> float:
    """The probability that a job of M/M/c waits."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (math.fsum(terms) + last)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_m_m_1(load: float) -> None:
    outcomes = several(load, 1)
    assert mean_wait(*outcomes) == pytest.approx(load / (1 - load), rel=0.05)
    outcome = outcomes[0]
    assert outcome.utilization("workers") == pytest.approx(load, rel=0.02)
    # The wait is 0 with probability 1 - load, else exponential: its 95th percentile.
    waits = sorted(outcome.waits_s["workers"])
    assert waits[int(0.95 * JOBS)] == pytest.approx(math.log(load / 0.05) / (1 - load), rel=0.1)
    assert sum(wait > 0 for wait in waits) / JOBS == pytest.approx(load, rel=0.02)


def test_m_m_c_waits_as_erlang_says() -> None:
    outcomes = several(3.2, 4)
    waits = [wait for outcome in outcomes for wait in outcome.waits_s["workers"]]
    assert sum(wait > 0 for wait in waits) / len(waits) == pytest.approx(erlang_c(4, 3.2), rel=0.03)
    assert mean_wait(*outcomes) == pytest.approx(erlang_c(4, 3.2) / (4 - 3.2), rel=0.05)


def test_m_d_1_waits_half_as_long_as_m_m_1() -> None:
    assert mean_wait(run(0.8, 1, always(1.0))) == pytest.approx(0.8 / (2 * (1 - 0.8)), rel=0.06)


def test_m_d_c() -> None:
    """Crommelin's exact mean wait of M/D/4 at a load of 0.8, in service times (by his series)."""
    servers, load = 4, 0.8
    exact = 0.0
    for i in range(1, 400):
        a = i * servers * load
        terms = [math.exp(-a + j * math.log(a) - math.lgamma(j + 1)) for j in range(i * servers, i * servers + 3000)]
        exact += terms[0] + (1 - 1 / load) * math.fsum(terms[1:])
    assert mean_wait(run(servers * load, servers, always(1.0))) == pytest.approx(exact, rel=0.06)


def test_m_m_1_with_room_refuses_as_many_as_it_must() -> None:
    load, room = 0.9, 4
    places = room + 1
    blocked = (1 - load) * load**places / (1 - load ** (places + 1))
    assert run(load, 1, exponential(1.0), room=room).refused / JOBS == pytest.approx(blocked, rel=0.06)


def test_little() -> None:
    """Jobs inside = rate × time inside, over two stations, whatever the distributions."""
    random_ = random.Random(3)
    arrivals = [
        Arrival(at_s, [Visit("a", {"x": random_.random()}), Visit("b", {"x": 0.4, "y": random_.random()})])
        for at_s in poisson(1.5, JOBS, random.Random(4))
    ]
    outcome = simulate(arrivals, [Station("a", ["x"]), Station("b", ["x", "y"])])
    inside_s = math.fsum(outcome.done_at_s[n] - arrival.at_s for n, arrival in enumerate(arrivals))
    services_s = outcome.stations["a"].busy_s + outcome.stations["b"].busy_s
    waits_s = math.fsum(outcome.waits_s["a"]) + math.fsum(outcome.waits_s["b"])
    assert inside_s == pytest.approx(services_s + waits_s)
    assert len(outcome.done_at_s) == JOBS


def test_the_faster_kind_does_more() -> None:
    arrivals = [Arrival(0.0, [Visit("workers", {"cpu": 4.0, "gpu": 1.0})]) for _ in range(10)]
    outcome = simulate(arrivals, [Station("workers", ["cpu", "gpu"])])
    assert sorted(outcome.done_at_s.values()) == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert outcome.utilization("workers") == 1
    assert outcome.stations["workers"].longest_queue == 8
