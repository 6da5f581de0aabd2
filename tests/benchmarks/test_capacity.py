"""The capacity plan: its arithmetic on costs that are known, its own promise, and what the check makes of records."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import ImageColor

from benchmarks import capacity
from benchmarks.capacity import Costs, ceilings, plan, run
from benchmarks.capacity_chart import draw_chart
from benchmarks.capacity_check import Calibration, calibrated, predicted, replayed

COSTS = Costs(
    api_s=0.1,
    api_frame_s=0.001,
    api_mib_s=0.01,
    read_s=0.005,
    redis_s=0.004,
    redis_read_s=0.001,
    redis_worker_s=0.001,
    redis_writes=20,
    redis_write_s=0.001,
    record_bytes=2000,
    worker_s=1.0,
    frame_s={"cpu": 0.02, "gpu": 0.001},
)


def test_what_one_of_each_can_do() -> None:
    found = ceilings(COSTS)
    assert found["cpu worker (1 core)"] == pytest.approx(60 / (1 + 107 * 0.02))
    assert found["gpu worker (1 slot)"] == pytest.approx(60 / 1.107)
    assert found["redis, its thread"] == pytest.approx(60 / (0.004 + 6 * 0.001))
    assert found["redis, writes one at a time"] == pytest.approx(3000)
    assert min(found, key=lambda name: found[name]) == "cpu worker (1 core)"


def test_a_plan_keeps_its_promise_and_no_fewer_workers_would() -> None:
    found = plan(COSTS, 100, "cpu")
    assert found["queue_wait_s"]["p95"] <= capacity._TARGET_P95_S
    assert found["workers"] == 6, "100 a minute of 3.14 s each are 5.2 workers' time"
    assert found["worker_utilization"] == pytest.approx(100 / 60 * 3.14 / 6, rel=0.03)
    fewer = run(COSTS, 100 / 60, "cpu", 5, found["api_processes"])
    assert capacity._p95(fewer) > capacity._TARGET_P95_S
    assert found["redis_gb_of_records_in_7_days"] == pytest.approx(100 * 60 * 24 * 7 * 2000 / 1e9)


def test_a_slow_api_holds_up_what_workers_could_do() -> None:
    slow = replace(COSTS, api_s=2.0)
    outcome = run(slow, 1.0, "gpu", 8, 1, count=2000)
    assert outcome.utilization("api") > 0.99
    assert outcome.utilization("workers") < 0.2


def test_the_kept_costs_can_be_read() -> None:
    costs = Costs.load()
    assert 0.1 < costs.worker("gpu", 107) < costs.worker("cpu", 107) < 60
    assert 0 < costs.redis() < costs.api(107)


def animation(created_s: float, started_s: float, finished_s: float) -> dict[str, Any]:
    moments = {"created_at": created_s, "started_at": started_s, "finished_at": finished_s}
    return {name: datetime.fromtimestamp(1e9 + at, UTC).isoformat() for name, at in moments.items()}


def test_the_calibration_finds_what_lies_between_two_animations() -> None:
    # Two children that never wait: 3 s each, and half a second between.
    done = [animation(0, child / 10 + 3.5 * turn, child / 10 + 3.5 * turn + 3) for turn in range(6) for child in (0, 1)]
    random.Random(1).shuffle(done)
    found = calibrated(done, 2)
    assert found.slot_s == pytest.approx(3.5)
    assert found.between_s == pytest.approx(0.5)


def test_what_is_replayed_is_what_was() -> None:
    """One worker, 2 s each and 0.5 s between: the waits of these records are those that the simulator finds."""
    done = [animation(0, 0, 2), animation(1, 2.5, 4.5), animation(2, 5, 7), animation(20, 20, 22)]
    waits = replayed(done, 0.5, 1)
    assert waits["mean"] == pytest.approx((0 + 1.5 + 3 + 0) / 4)
    assert waits["max"] == pytest.approx(3)
    said = predicted([0, 1, 2, 20], Calibration([2.0], 2.5), 1)
    assert said["wait_mean_s"] == pytest.approx({"median": 1.125, "low": 1.125, "high": 1.125})
    assert said["animations_a_minute"]["median"] == pytest.approx(60 * 4 / 22)


def test_the_chart_shows_every_part() -> None:
    curves = {str(count): [(0.1, 1.0), (0.9, 30.0)] for count in (1, 2, 8, 32)}
    report = {"one_of_each_a_minute": {"a": 10.0, "b": 1000.0}, "p95_wait_s_by_load": curves}
    spread = dict.fromkeys(("mean", "p50", "p95"), 4.0)
    simulated = {f"wait_{name}_s": {"median": 3.0, "low": 2.0, "high": 5.0} for name in spread}
    check = {"workers": 1, "real": {"waits_s": spread}, "simulated": simulated, "replayed": spread}
    pixels = np.asarray(draw_chart(report, [check]))
    shown = {colour: int((pixels == ImageColor.getrgb(colour)).all(-1).sum()) for colour in ("steelblue", "darkorange")}
    assert min(shown.values()) > 500
    assert pixels.shape[1] == 760
