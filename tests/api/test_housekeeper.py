"""The sweeper brings animations back whose worker or doorbell was lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.housekeeper import Housekeeper
from api.settings import ApiSettings
from tests.conftest import wait_until
from worker.errors import QueueUnavailable
from worker.job_store import JobStore
from worker.jobs import AnimationOptions, JobInput, JobState, new_id
from worker.settings import Settings

FAST = ApiSettings(housekeeping_interval_s=0.02)


@pytest.fixture
def rung() -> list[str]:
    return []


@pytest.fixture
def hasty_store(settings: Settings) -> Iterator[JobStore]:
    """A store whose leases end almost at once."""
    store = JobStore.connect(settings.model_copy(update={"lease_s": 0.05, "first_ring_wait_s": 0.05}))
    yield store
    store.close()


def submit(store: JobStore, job_input: JobInput) -> str:
    return store.submit(new_id(), job_input, AnimationOptions()).id


def test_a_silent_worker_loses_its_animation(hasty_store: JobStore, job_input: JobInput, rung: list[str]) -> None:
    job_id = submit(hasty_store, job_input)
    lost = hasty_store.claim(job_id, "a worker that is killed")
    assert lost
    housekeeper = Housekeeper(hasty_store, rung.append, FAST)
    housekeeper.start()
    try:
        wait_until(lambda: job_id in rung, "the doorbell is rung for it")
    finally:
        housekeeper.stop()

    job = hasty_store.get(job_id)
    assert job is not None
    assert job.state is JobState.QUEUED
    assert hasty_store.heartbeat(job_id, lost.fence, 1) == "lost"
    assert hasty_store.claim(job_id, "the restarted worker")


def test_a_doorbell_that_nobody_heard_is_rung_again(
    hasty_store: JobStore, job_input: JobInput, rung: list[str]
) -> None:
    job_id = submit(hasty_store, job_input)
    housekeeper = Housekeeper(hasty_store, rung.append, FAST)
    housekeeper.start()
    wait_until(lambda: rung.count(job_id) >= 2, "it is rung twice")
    housekeeper.stop()


def test_one_at_a_time(hasty_store: JobStore, job_input: JobInput, rung: list[str]) -> None:
    settings = ApiSettings(housekeeping_interval_s=60)
    Housekeeper(hasty_store, rung.append, settings).sweep()
    job_id = submit(hasty_store, job_input)
    second: list[str] = []

    for _ in range(20):
        Housekeeper(hasty_store, second.append, settings).sweep()

    assert second == []
    assert hasty_store.get(job_id)


def test_it_survives_what_goes_wrong(hasty_store: JobStore, job_input: JobInput, rung: list[str]) -> None:
    failures: list[Exception] = [QueueUnavailable("away"), RuntimeError("a defect"), QueueUnavailable("away")]

    def ring(job_id: str) -> None:
        if failures:
            raise failures.pop()
        rung.append(job_id)

    job_id = submit(hasty_store, job_input)
    housekeeper = Housekeeper(hasty_store, ring, FAST)
    housekeeper.start()
    wait_until(lambda: job_id in rung, "it is rung in the end")
    housekeeper.stop()


def test_it_survives_a_queue_that_is_away(settings: Settings, rung: list[str]) -> None:
    away = JobStore.connect(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    housekeeper = Housekeeper(away, rung.append, FAST)
    housekeeper.start()
    housekeeper.stop()
    away.close()

    with pytest.raises(QueueUnavailable):
        housekeeper.sweep()
