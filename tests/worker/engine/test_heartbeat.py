"""The lease is kept, and the job learns when it must stop."""

from __future__ import annotations

import pytest
import structlog

from tests.conftest import wait_until
from worker import logs
from worker.engine.heartbeat import Heartbeat
from worker.errors import JobCanceled, JobStopped, LeaseLost, QueueUnavailable
from worker.job_store import Claim, JobStore
from worker.jobs import AnimationOptions, JobInput, new_id
from worker.settings import Settings


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_s": 0.02, "lease_s": 0.3})


@pytest.fixture
def claim(quick: Settings, job_input: JobInput) -> Claim:
    store = JobStore.connect(quick)
    job = store.submit(new_id(), job_input, AnimationOptions())
    claimed = store.claim(job.id, "w")
    assert claimed is not None
    return claimed


def stopped_by(heartbeat: Heartbeat) -> type[JobStopped] | None:
    try:
        heartbeat.report(5)
    except JobStopped as stop:
        return type(stop)
    return None


def test_the_lease_outlives_its_length(quick: Settings, claim: Claim, job_store: JobStore) -> None:
    first = claim.job.lease_until or 0.0
    with Heartbeat(JobStore.connect(quick), claim, quick) as heartbeat:
        heartbeat.report(7)

        def renewed() -> bool:
            job = job_store.get(claim.job.id)
            return job is not None and job.frames_done == 7 and (job.lease_until or 0.0) > first + quick.lease_s

        wait_until(renewed, "the lease is renewed beyond its length")
        assert job_store.upkeep.release_expired() == ([], [])
        heartbeat.report(8)
    wait_until(
        lambda: job_store.upkeep.release_expired().queued == [claim.job.id], "without a heartbeat the lease runs out"
    )


@pytest.mark.parametrize("frames_moving", [True, False])
def test_cancel(quick: Settings, claim: Claim, job_store: JobStore, frames_moving: bool) -> None:
    calm = quick if frames_moving else quick.model_copy(update={"heartbeat_s": 0.02, "lease_s": 60.0})
    with Heartbeat(JobStore.connect(calm), claim, calm) as heartbeat:
        heartbeat.report(1)
        job_store.cancel(claim.job.id)
        wait_until(lambda: stopped_by(heartbeat) is JobCanceled, "the job is told to stop")


def test_lost_to_another_worker(quick: Settings, claim: Claim, job_store: JobStore) -> None:
    old = Claim(claim.job, claim.fence - 1)
    with Heartbeat(JobStore.connect(quick), old, quick) as heartbeat:
        wait_until(lambda: stopped_by(heartbeat) is LeaseLost, "the job is told that it is not its own any more")


def test_redis_away_for_longer_than_the_lease(quick: Settings, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore.connect(quick)
    calls: list[dict[str, object]] = []

    def away(*_: object) -> str:
        calls.append(structlog.contextvars.get_contextvars())
        raise QueueUnavailable("away")

    monkeypatch.setattr(store, "heartbeat", away)
    with logs.bound(animation_id=claim.job.id), Heartbeat(store, claim, quick) as heartbeat:
        assert stopped_by(heartbeat) is None
        wait_until(lambda: stopped_by(heartbeat) is LeaseLost, "it gives up")
    assert len(calls) > 1, "one failed call is not yet a lost lease"
    assert calls[0] == {"animation_id": claim.job.id}, "what is logged there says whose it is"
