"""Stopwatches that interleave, and numbers that children write and the parent shows."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from worker.engine import stages as stages_module
from worker.engine.numbers import WorkerNumbers
from worker.engine.stages import Stages


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, set by the test."""
    now = [100.0]
    monkeypatch.setattr(stages_module.time, "monotonic", lambda: now[0])
    return now


def test_each_stage_has_its_own_time(clock: list[float]) -> None:
    stages = Stages()

    def decoded() -> Iterator[int]:
        for number in range(3):
            clock[0] += 1
            yield number

    def drawn(batches: Iterator[int]) -> Iterator[int]:
        for batch in batches:
            clock[0] += 10
            yield batch

    with stages.of("encode"):
        clock[0] += 1000
        for _ in stages.each("infer", drawn(stages.each("decode", decoded()))):
            clock[0] += 100
    clock[0] += 5000  # nobody's
    with stages.of("upload"):
        clock[0] += 7
    assert stages.seconds == {"download": 0, "decode": 3, "infer": 30, "encode": 1300, "upload": 7}


def test_an_error_leaves_the_stopwatches_right(clock: list[float]) -> None:
    stages = Stages()

    def fail() -> None:
        clock[0] += 2
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"), stages.of("encode"), stages.of("decode"):
        fail()
    with stages.of("upload"):
        clock[0] += 3
    assert stages.seconds["decode"] == 2
    assert stages.seconds["encode"] == 0
    assert stages.seconds["upload"] == 3


def test_leaving_early_ends_what_stands_behind() -> None:
    ended = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    items = Stages().each("decode", endless())
    next(items)
    items.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert ended == [True]


def test_children_count_and_the_parent_shows_also_after_a_kill() -> None:
    numbers, stages = WorkerNumbers(2), Stages()
    stages.seconds["decode"], stages.seconds["infer"] = 1.5, 4.0
    for place in (0, 1, 1):  # the third takes the place of the second
        child = os.fork()
        if child == 0:
            numbers.job_done(place, stages, 25, memory=(10, 20))
            numbers.model_loaded(place, 2.0)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    port = numbers.serve("127.0.0.1", 0)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    found = {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }
    assert found["animato_frames_processed_total",] == 75
    assert found["animato_job_run_duration_seconds_sum", "infer"] == 12
    assert found["animato_job_run_duration_seconds_count", "infer"] == 3
    assert found["animato_model_load_seconds_sum",] == 6
    assert found["animato_gpu_memory_bytes", "reserved", "1"] == 20
