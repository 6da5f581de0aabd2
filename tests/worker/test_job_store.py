"""The job protocol on a real Redis: who may run an animation, and whose result counts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis

from tests.conftest import job_result, wait_until
from worker.errors import QueueUnavailable
from worker.job_store import JobStore
from worker.jobs import TRANSITIONS, AnimationOptions, Job, JobContext, JobError, JobInput, JobState, is_id, new_id
from worker.settings import Settings

Submit = Callable[[], Job]
PASSING = JobError(code="out_of_memory", detail="no memory", retryable=True)
FINAL = JobError(code="media_rejected", detail="no frames")


@pytest.fixture
def submit(job_store: JobStore, job_input: JobInput) -> Submit:
    return lambda: job_store.submit(
        new_id(), job_input, AnimationOptions(model="avatars-256"), JobContext(request_id="req-1")
    )


@pytest.fixture
def hasty(settings: Settings) -> JobStore:
    """A store whose leases end at once and whose retries wait for nothing."""
    return JobStore.connect(settings.model_copy(update={"lease_s": 0.001, "retry_backoff_s": 0.0}))


def stored(store: JobStore, job: Job) -> Job:
    found = store.get(job.id)
    assert found is not None
    return found


def claim_expired(hasty: JobStore, job: Job) -> int:
    """Claim with a lease that is over when this returns; the fence."""
    claim = hasty.claim(job.id, "frozen")
    assert claim is not None
    lease_until = claim.job.lease_until or 0.0

    def over() -> bool:
        clock = hasty._redis.time()
        return clock[0] + clock[1] / 1e6 > lease_until + 0.002  # pyright: ignore

    wait_until(over, "the lease is over")
    return claim.fence


def test_ids_sort_by_age_and_are_recognised() -> None:
    ids = [new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(is_id(text) for text in ids)
    assert [text[:14] for text in ids] == sorted(text[:14] for text in ids)
    for bad in ("", "anm_", ids[0] + "0", ids[0].upper(), "anm_" + "../" * 8 + "ab", ids[0][4:]):
        assert not is_id(bad)


def test_every_state_is_in_the_table_and_terminal_ones_are_final() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert {state for state in JobState if state.is_terminal} == {"succeeded", "failed", "canceled"}


def test_a_submitted_record_reads_back_whole(job_store: JobStore, job_input: JobInput, submit: Submit) -> None:
    job = submit()
    assert (job.state, job.version, job.attempt, job.percent) == (JobState.QUEUED, 1, 0, 0)
    assert (job.input, job.frames_total, job.context.request_id) == (job_input, 100, "req-1")
    assert job_store.get(job.id) == job
    assert job_store.get(new_id()) is None
    again = job_store.submit(job.id, job_input, AnimationOptions(motion_transfer="absolute"))
    assert again == job, "a repeated submit changes nothing"


def test_a_record_from_before_an_option_was_renamed_reads_back(
    job_store: JobStore, submit: Submit, redis_url: str
) -> None:
    job = submit()
    client = redis.Redis.from_url(redis_url)
    client.hset(f"animato:job:{job.id}", "options", '{"model": "avatars-256", "motion": "absolute", "audio": false}')
    client.close()
    assert stored(job_store, job).options == AnimationOptions(
        model="avatars-256", motion_transfer="absolute", audio=False
    )


def test_one_of_many_claims_wins(settings: Settings, submit: Submit) -> None:
    job = submit()
    stores = [JobStore.connect(settings) for _ in range(8)]
    wins: list[int] = []

    def race(number: int) -> None:
        if claim := stores[number].claim(job.id, f"worker-{number}"):
            wins.append(claim.fence)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wins == [1]


def test_a_claim_whose_answer_was_lost_can_be_repeated(job_store: JobStore, submit: Submit) -> None:
    job = submit()
    first, again = job_store.claim(job.id, "w:1:abc"), job_store.claim(job.id, "w:1:abc")
    assert first is not None
    assert again is not None
    assert (first.fence, again.fence, again.job.attempt) == (1, 1, 1)


def test_success_is_visible_once_and_final(job_store: JobStore, submit: Submit) -> None:
    job = submit()
    claim = job_store.claim(job.id, "w")
    assert claim is not None
    assert job_store.heartbeat(job.id, claim.fence, 42) == "ok"
    running = stored(job_store, job)
    assert (running.state, running.frames_done, running.percent) == (JobState.PROCESSING, 42, 42)
    assert job_store.commit(job.id, claim.fence, job_result())
    done = stored(job_store, job)
    assert (done.state, done.result, done.percent, done.owner) == (JobState.SUCCEEDED, job_result(), 100, None)
    assert done.finished_at is not None
    assert job_store.commit(job.id, claim.fence, job_result()), "the same commit again, as after a lost answer"
    assert job_store.fail(job.id, claim.fence, FINAL, attempt=1) is None
    assert not job_store.stop_canceled(job.id, claim.fence)
    assert job_store.claim(job.id, "other") is None
    assert job_store.cancel(job.id) == done
    assert stored(job_store, job) == done


def test_progress_moves_the_version_only_when_it_changes(job_store: JobStore, submit: Submit) -> None:
    job = submit()
    claim = job_store.claim(job.id, "w")
    assert claim is not None
    job_store.heartbeat(job.id, claim.fence, 8)
    version = stored(job_store, job).version
    job_store.heartbeat(job.id, claim.fence, 8)
    assert stored(job_store, job).version == version
    job_store.heartbeat(job.id, claim.fence, 16)
    assert stored(job_store, job).version == version + 1


def test_the_fence_refuses_a_worker_that_lost_its_lease(job_store: JobStore, hasty: JobStore, submit: Submit) -> None:
    job = submit()
    old_fence = claim_expired(hasty, job)
    new = job_store.claim(job.id, "fresh")
    assert new is not None
    assert new.fence > old_fence
    assert job_store.heartbeat(job.id, old_fence, 1) == "lost"
    assert not job_store.commit(job.id, old_fence, job_result())
    assert job_store.fail(job.id, old_fence, FINAL, attempt=1) is None
    assert stored(job_store, job).state is JobState.PROCESSING
    assert job_store.commit(job.id, new.fence, job_result())


def test_the_housekeeper_queues_the_silent_again_and_rings(
    job_store: JobStore, hasty: JobStore, submit: Submit
) -> None:
    job, running = submit(), submit()
    job_store.claim(running.id, "alive")
    old_fence = claim_expired(hasty, job)
    assert job_store.upkeep.release_expired().queued == [job.id]
    assert stored(job_store, job).state is JobState.QUEUED
    assert stored(job_store, running).state is JobState.PROCESSING
    assert not job_store.commit(job.id, old_fence, job_result()), "frozen, released, woken: too late"
    assert job_store.upkeep.due_rings() == [job.id]
    assert job_store.upkeep.due_rings() == [], "rung a moment ago"
    claim = job_store.claim(job.id, "next")
    assert claim is not None
    assert claim.job.attempt == 2


def test_an_owner_known_to_be_gone_need_not_be_waited_for(job_store: JobStore, submit: Submit) -> None:
    job = submit()
    first = job_store.claim(job.id, "dead")
    assert first is not None
    assert job_store.claim(job.id, "next", after="another") is None
    second = job_store.claim(job.id, "next", after="dead")
    assert second is not None
    assert second.job.attempt == 2
    assert job_store.heartbeat(job.id, first.fence, 1) == "lost"
    assert job_store.claim(job.id, "third", after="dead") is None, "it has an owner that lives"


def test_a_job_that_kills_its_worker_is_given_up(job_store: JobStore, hasty: JobStore, submit: Submit) -> None:
    job = submit()
    for _ in range(2):
        claim_expired(hasty, job)
        assert job_store.upkeep.release_expired() == ([job.id], [])
    claim_expired(hasty, job)
    assert job_store.upkeep.release_expired() == ([], [job.id])
    assert job_store.claim(job.id, "fourth") is None
    assert job_store.upkeep.dead() == [job.id]
    failed = stored(job_store, job)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 3)
    assert failed.error is not None
    assert failed.error.code == "worker_crashed"
    assert job_store.upkeep.release_expired() == ([], [])


def test_a_failure_that_may_pass_is_retried_until_the_attempts_are_used(hasty: JobStore, submit: Submit) -> None:
    job = submit()
    states = []
    for _ in range(3):
        claim = hasty.claim(job.id, "w")
        assert claim is not None
        states.append(hasty.fail(job.id, claim.fence, PASSING, attempt=claim.job.attempt))
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert stored(hasty, job).error == PASSING


def test_a_retry_waits_for_its_time(job_store: JobStore, submit: Submit) -> None:
    job = submit()
    claim = job_store.claim(job.id, "w")
    assert claim is not None
    assert job_store.fail(job.id, claim.fence, PASSING, attempt=1) is JobState.QUEUED
    assert job_store.claim(job.id, "eager") is None
    assert job_store.upkeep.due_rings() == []


def test_a_worker_that_goes_hands_over_at_once(job_store: JobStore, submit: Submit) -> None:
    job, unwanted = submit(), submit()
    claim, other = job_store.claim(job.id, "w"), job_store.claim(unwanted.id, "w")
    assert claim is not None
    assert other is not None
    job_store.hand_over(job.id, claim.fence)
    assert stored(job_store, job).state is JobState.QUEUED
    assert job_store.upkeep.due_rings() == [job.id]
    assert not job_store.commit(job.id, claim.fence, job_result())
    taken = job_store.claim(job.id, "next")
    assert taken is not None
    assert taken.job.attempt == 1, "a restart is no failure of the animation"
    job_store.hand_over(job.id, claim.fence)
    assert stored(job_store, job).state is JobState.PROCESSING, "it is not the old owner's to hand over any more"

    job_store.cancel(unwanted.id)
    job_store.hand_over(unwanted.id, other.fence)
    assert stored(job_store, unwanted).state is JobState.CANCELED


def test_a_failure_of_the_input_is_final(job_store: JobStore, submit: Submit) -> None:
    job = submit()
    claim = job_store.claim(job.id, "w")
    assert claim is not None
    assert job_store.fail(job.id, claim.fence, FINAL, attempt=1) is JobState.FAILED
    assert stored(job_store, job).error == FINAL


def test_cancel_queued_running_and_silent(job_store: JobStore, hasty: JobStore, submit: Submit) -> None:
    queued = job_store.cancel(submit().id)
    assert queued is not None
    assert queued.state is JobState.CANCELED
    assert job_store.claim(queued.id, "w") is None
    assert job_store.queue_depth() == 0
    assert job_store.upkeep.due_rings() == [], "nobody is called for it"

    running = submit()
    claim = job_store.claim(running.id, "w")
    assert claim is not None
    asked = job_store.cancel(running.id)
    assert asked is not None
    assert (asked.state, asked.cancel_requested) == (JobState.PROCESSING, True)
    assert job_store.stop_wanted(running.id, claim.fence)
    assert job_store.heartbeat(running.id, claim.fence, 0) == "cancel"
    assert job_store.stop_canceled(running.id, claim.fence)
    assert stored(job_store, running).state is JobState.CANCELED

    silent = submit()
    claim_expired(hasty, silent)
    job_store.cancel(silent.id)
    assert job_store.upkeep.release_expired() == ([], [])
    assert stored(job_store, silent).state is JobState.CANCELED
    assert job_store.cancel(new_id()) is None


def test_an_accepted_cancellation_is_final_also_when_the_work_is_done_first(
    job_store: JobStore, submit: Submit
) -> None:
    done, broken = submit(), submit()
    claims = [job_store.claim(job.id, "w") for job in (done, broken)]
    for job in (done, broken):
        job_store.cancel(job.id)
    for _ in range(2):  # the second call is the one whose first answer was lost
        assert claims[0] is not None
        assert claims[1] is not None
        assert not job_store.commit(done.id, claims[0].fence, job_result())
        assert job_store.fail(broken.id, claims[1].fence, FINAL, attempt=1) is JobState.CANCELED
    for job in (done, broken):
        ended = stored(job_store, job)
        assert (ended.state, ended.result, ended.error) == (JobState.CANCELED, None, None)


def test_a_canceled_job_is_not_tried_again(job_store: JobStore, hasty: JobStore, submit: Submit) -> None:
    job = submit()
    claim = job_store.claim(job.id, "w")
    assert claim is not None
    job_store.cancel(job.id)
    for _ in range(2):  # the second call is the one whose first answer was lost
        assert job_store.fail(job.id, claim.fence, PASSING, attempt=1) is JobState.CANCELED
    assert stored(job_store, job).state is JobState.CANCELED

    silent = submit()
    claim_expired(hasty, silent)
    job_store.cancel(silent.id)
    assert job_store.claim(silent.id, "next") is None
    assert stored(job_store, silent).state is JobState.CANCELED


def test_a_finished_job_gets_no_lease(job_store: JobStore, submit: Submit) -> None:
    job = submit()
    claim = job_store.claim(job.id, "w")
    assert claim is not None
    job_store.commit(job.id, claim.fence, job_result())
    assert job_store.heartbeat(job.id, claim.fence, 5) == "lost"
    done = stored(job_store, job)
    assert (done.frames_done, done.lease_until) == (100, None)
    assert done.started_at is not None


def test_pages_go_from_new_to_old_without_gap_or_repeat(job_store: JobStore, submit: Submit) -> None:
    ids = sorted((submit().id for _ in range(7)), reverse=True)
    first = job_store.page(3)
    second = job_store.page(10, before=first[-1].id)
    assert [job.id for job in (*first, *second)] == ids


def test_queue_position_counts_those_before(job_store: JobStore, submit: Submit) -> None:
    jobs = [submit() for _ in range(3)]
    positions = sorted(job_store.queue_position(job.id) for job in jobs)  # pyright: ignore
    assert positions == [0, 1, 2]
    assert job_store.queue_depth() == 3
    job_store.claim(jobs[0].id, "w")
    assert job_store.queue_position(jobs[0].id) is None


def test_only_one_housekeeper(job_store: JobStore) -> None:
    assert job_store.upkeep.take_duty("housekeeper", "a", 60)
    assert not job_store.upkeep.take_duty("housekeeper", "b", 60)
    assert job_store.upkeep.take_duty("housekeeper", "a", 60)


def test_redis_away_is_a_clear_error(settings: Settings, tmp_path: object) -> None:
    store = JobStore.connect(settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"}))
    with pytest.raises(QueueUnavailable) as caught:
        store.get(new_id())
    assert caught.value.code == "queue_unavailable"


def test_redis_full_is_a_clear_error(settings: Settings, job_input: JobInput) -> None:
    store = JobStore.connect(settings)
    admin = redis.Redis.from_url(settings.redis_url)
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable):
            store.submit(new_id(), job_input, AnimationOptions())
    finally:
        admin.config_set("maxmemory", 0)
        admin.close()
