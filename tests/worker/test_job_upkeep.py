"""What the housekeeper does to records, with a clock that stands still: rings, deadlines, retention, purging."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import job_result
from tests.worker.virtual_clock import VirtualClock
from worker.job_store import JobStore, Tombstone
from worker.jobs import BELLS_KEY, AnimationOptions, Job, JobContext, JobError, JobInput, JobState, new_id
from worker.settings import Settings
from worker.submit_refusals import AlreadyRetriedError

Submit = Callable[..., Job]
FINAL = JobError(code="media_rejected", detail="no frames")


@pytest.fixture
def clock(settings: Settings) -> VirtualClock:
    return VirtualClock(settings)


@pytest.fixture
def store(clock: VirtualClock) -> JobStore:
    return clock.store()


@pytest.fixture
def submit(store: JobStore, job_input: JobInput) -> Submit:
    return lambda **context: store.submit(new_id(), job_input, AnimationOptions(), JobContext(**context))


def stored(store: JobStore, job: Job) -> Job:
    found = store.get(job.id)
    assert found is not None
    return found


def fail(store: JobStore, job: Job) -> None:
    claim = store.claim(job.id, "w")
    assert claim is not None
    assert store.fail(job.id, claim.fence, FINAL, attempt=1) is JobState.FAILED


def keys(store: JobStore, job: Job) -> set[str]:
    """Every key of Redis that knows the animation."""
    client = store._redis
    found = set()
    for key in client.scan_iter("animato:*"):
        kind = client.type(key)
        if (
            job.id in key
            or (kind == "zset" and client.zscore(key, job.id) is not None)
            or (kind == "set" and client.sismember(key, job.id))
        ):
            found.add(key)
    return found


def test_a_lost_doorbell_is_rung_again_with_growing_pauses(
    store: JobStore, clock: VirtualClock, submit: Submit
) -> None:
    job = submit()
    waited_s, rung_after_s = 0.0, []
    while len(rung_after_s) < 9:
        if store.upkeep.due_rings() == [job.id]:
            rung_after_s.append(waited_s)
            waited_s = 0.0
        clock.advance(15)
        waited_s += 15
    assert rung_after_s == [15 * factor for factor in (1, 2, 4, 8, 16, 32, 64, 64, 64)]


def test_a_long_queue_does_not_starve_a_younger_lost_doorbell(
    store: JobStore, clock: VirtualClock, submit: Submit
) -> None:
    older = [submit() for _ in range(30)]
    clock.advance(16)
    assert len(store.upkeep.due_rings(at_most=100)) == 30
    younger = submit()
    clock.advance(16)
    assert store.upkeep.due_rings(at_most=5) == [younger.id], "the older ones were rung a moment ago"
    clock.advance(15)
    assert len(store.upkeep.due_rings(at_most=5)) == 5, "a round is bounded"
    assert len(store.upkeep.due_rings(at_most=100)) == len(older) - 5


def test_no_doorbell_is_rung_while_the_broker_is_full_of_them(
    store: JobStore, clock: VirtualClock, submit: Submit
) -> None:
    job = submit()
    clock.advance(16)
    store._redis.rpush(BELLS_KEY, *range(103))
    assert store.upkeep.due_rings() == []
    store._redis.lpop(BELLS_KEY)
    assert store.upkeep.due_rings() == [job.id]


def test_a_deadline_ends_what_is_queued_and_what_runs(store: JobStore, clock: VirtualClock, submit: Submit) -> None:
    queued, running, canceled, done = submit(), submit(), submit(), submit()
    assert queued.deadline_at == queued.created_at + 24 * 3600
    claims = {job.id: store.claim(job.id, "w") for job in (running, canceled, done)}
    store.cancel(canceled.id)
    assert store.commit(done.id, 1, job_result())
    clock.advance(24 * 3600 - 1)
    for job in (running, canceled):
        store.heartbeat(job.id, 1, 5)
    assert store.upkeep.end_overdue() == []
    clock.advance(1)
    assert set(store.upkeep.end_overdue()) == {queued.id, running.id, canceled.id}
    assert store.upkeep.end_overdue() == []
    for job in (queued, running):
        ended = stored(store, job)
        assert (ended.state, ended.error and ended.error.code) == (JobState.FAILED, "deadline_exceeded")
    assert stored(store, canceled).state is JobState.CANCELED
    assert stored(store, done).state is JobState.SUCCEEDED
    claim = claims[running.id]
    assert claim is not None
    assert store.heartbeat(running.id, claim.fence, 6) == "lost"
    assert store.fail(running.id, claim.fence, FINAL, attempt=1) is None, "its worker learns that it came too late"
    assert store.queue_depth() == store.running_count() == 0


def test_retention_leaves_a_tombstone_and_trash(store: JobStore, clock: VirtualClock, submit: Submit) -> None:
    job, other, live = submit(client_id="c1"), submit(), submit(client_id="c1")
    assert stored(store, job).expires_at is None
    fail(store, job)
    store.cancel(other.id)
    ended = stored(store, job)
    assert ended.finished_at is not None
    assert ended.expires_at == ended.finished_at + 7 * 24 * 3600
    clock.advance(7 * 24 * 3600 - 1)
    assert store.upkeep.expire() == []
    clock.advance(1)
    assert set(store.upkeep.expire()) == {job.id, other.id}
    assert store.upkeep.expire() == []
    assert store.get(job.id) is None
    assert store.tombstone(job.id) == Tombstone("c1")
    assert store.tombstone(other.id) == Tombstone(None)
    assert store.tombstone(new_id()) is None
    assert keys(store, job) == {f"animato:gone:{job.id}", "animato:jobs:trash"}
    assert set(store.upkeep.trash()) == {job.id, other.id}
    store.upkeep.objects_deleted(job.id)
    assert store.upkeep.trash() == [other.id]
    assert stored(store, live).state is JobState.QUEUED


@pytest.mark.parametrize("state", ["queued", "processing", "failed", "canceled"])
def test_purging_leaves_nothing_but_trash(store: JobStore, submit: Submit, state: str) -> None:
    job = submit(client_id="c1")
    if state == "processing":
        store.claim(job.id, "w")
    elif state == "failed":
        fail(store, job)
    elif state == "canceled":
        store.cancel(job.id)
    assert stored(store, job).state == state
    assert store.purge(job.id)
    assert not store.purge(job.id)
    assert keys(store, job) == {"animato:jobs:trash"}
    assert store.under_way("c1") == 0
    if state == "processing":
        assert store.stop_wanted(job.id, 1)
        assert store.heartbeat(job.id, 1, 3) == "lost"
        assert not store.commit(job.id, 1, job_result())
        assert store.fail(job.id, 1, FINAL, attempt=1) is None
        assert store.get(job.id) is None, "a late worker does not bring it back"
        assert keys(store, job) == {"animato:jobs:trash"}


def test_a_client_sees_its_own_and_its_live_ones_are_counted(
    store: JobStore, clock: VirtualClock, submit: Submit
) -> None:
    mine = [submit(client_id="me") for _ in range(4)]
    submit(client_id="you")
    submit()
    assert [job.id for job in store.page(10, client_id="me")] == sorted((job.id for job in mine), reverse=True)
    assert len(store.page(10)) == 6
    assert store.under_way("me") == 4
    store.cancel(mine[0].id)
    fail(store, mine[1])
    store.claim(mine[2].id, "w")
    assert store.under_way("me") == 2
    clock.advance(31)
    store.upkeep.release_expired()
    assert store.under_way("me") == 2, "queued again is still alive"
    clock.advance(24 * 3600)
    store.upkeep.end_overdue()
    assert (store.under_way("me"), store.under_way("you")) == (0, 0)


def test_the_speed_of_a_model_is_measured(store: JobStore, clock: VirtualClock, submit: Submit) -> None:
    assert store.speed("avatars-256") is None
    for seconds, expected in ((10.0, 10.0), (5.0, 13.0)):  # 100 frames; 0.7 × 10 + 0.3 × 20
        job = submit()
        clock.advance(60)  # waiting is not counted
        claim = store.claim(job.id, "w")
        assert claim is not None
        clock.advance(seconds)
        store.commit(job.id, claim.fence, job_result(frames=100))
        assert store.speed("avatars-256") == pytest.approx(expected, rel=1e-4)


def test_a_retry_by_an_operator_happens_once(store: JobStore, job_input: JobInput, submit: Submit) -> None:
    job = submit()
    fail(store, job)
    before = stored(store, job)
    assert store.upkeep.dead() == [job.id]
    again = submit(retry_of=job.id)
    assert (again.context.retry_of, again.attempt) == (job.id, 0)
    assert store.upkeep.dead() == []
    repeated = store.submit(again.id, job_input, AnimationOptions(), JobContext(retry_of=job.id))
    assert repeated == again, "the same call again, as after a lost answer"
    with pytest.raises(AlreadyRetriedError):
        submit(retry_of=job.id)
    assert stored(store, job) == before, "a final record never changes"


def test_workers_that_told_of_themselves_are_listed(job_store: JobStore) -> None:
    assert job_store.workers_alive() == {}
    job_store.announce_worker("a", 1)
    job_store.announce_worker("b", 2)
    job_store.announce_worker("a", 1)
    assert job_store.workers_alive() == {"a": 1, "b": 2}
    job_store._redis.delete("animato:worker:a")  # as its time to live does
    assert job_store.workers_alive() == {"b": 2}
    job_store.dismiss_worker("b")
    assert job_store.workers_alive() == {}
