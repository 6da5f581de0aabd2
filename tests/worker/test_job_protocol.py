"""The scripts as a state machine beside a model of them in Python, driven by hypothesis on a clock that it moves."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import job_result
from tests.worker.virtual_clock import VirtualClock
from worker.job_store import JobStore
from worker.jobs import TRANSITIONS, AnimationOptions, Job, JobContext, JobError, JobInput, JobState, new_id
from worker.redis_scripts import CLIENT, DEADLINES, EXPIRY, INDEX, LEASES, QUEUED, RINGS
from worker.settings import Settings

LEASE_S, BACKOFF_S, DEADLINE_S, RETENTION_S, ATTEMPTS = 30.0, 8.0, 1000.0, 5000.0, 3
PASSING = JobError(code="out_of_memory", detail="no memory", retryable=True)
FINAL = JobError(code="media_rejected", detail="no frames")
WHICH = st.integers(0, 11)
LIVE = (JobState.QUEUED, JobState.PROCESSING)


@dataclass
class Expected:
    """What the record must be, and which fences were handed out for it."""

    client: str | None
    deadline: float
    state: JobState = JobState.QUEUED
    attempt: int = 0
    fence: int = 0
    owner: str | None = None
    lease_until: float = 0.0
    due: float = 0.0
    """When it can be claimed; after a retry a time that is only known to lie in a range: the record tells it."""
    cancel_requested: bool = False
    ended_at: float | None = None
    commits: int = 0
    frozen: Job | None = None
    """The record as it was when it became final."""


@dataclass
class Fence:
    job_id: str
    number: int
    attempt: int
    owner: str = field(default="")


class Protocol(RuleBasedStateMachine):
    """One rule for each thing that can happen; `claims` are the workers, of which many are frozen and wake late."""

    store: JobStore
    clock: VirtualClock
    job_input: JobInput
    fences = Bundle("fences")

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, Expected] = {}
        self.gone: list[str] = []
        self.versions: dict[str, int] = {}
        self.states: dict[str, JobState] = {}
        self.owners = 0

    @initialize()
    def begin(self) -> None:
        self.store._redis.flushdb()
        self.clock.set(1_800_000_000.0)
        self.submit("a")

    # -- what clients do --------------------------------------------------------------------------------------------

    @rule(client=st.sampled_from([None, "a", "b"]))
    @precondition(lambda self: sum(job.state in LIVE for job in self.expected.values()) < 2)
    def submit(self, client: str | None) -> None:
        job = self.store.submit(new_id(), self.job_input, AnimationOptions(), JobContext(client_id=client))
        now = self.clock.now_s
        self.expected[job.id] = Expected(client, deadline=now + DEADLINE_S, due=now)

    @rule(which=WHICH, really=st.integers(0, 3))
    def cancel(self, which: int, really: int) -> None:
        job_id = self._pick(which)
        if really:
            return
        job = self.expected.get(job_id)
        if job and job.state is JobState.QUEUED:
            job.cancel_requested = True
            self._end(job_id, JobState.CANCELED)
        elif job and job.state is JobState.PROCESSING:
            job.cancel_requested = True
        assert (self.store.cancel(job_id) is None) == (job is None)

    @rule(which=WHICH, really=st.integers(0, 3))
    def purge(self, which: int, really: int) -> None:
        job_id = self._pick(which)
        if really:
            return  # seldom, so that most animations have a life
        assert self.store.purge(job_id) == (job_id in self.expected)
        self._forget(job_id)

    # -- what workers do --------------------------------------------------------------------------------------------

    @rule(target=fences, which=WHICH, after_owner=st.booleans())
    def claim(self, which: int, after_owner: bool) -> MultipleResults[Fence]:
        """A message arrives. `after_owner`: this machine sees that the owner's process is gone."""
        job_id = self._pick(which)
        self.owners += 1
        owner, now = f"owner-{self.owners}", self.clock.now_s
        job = self.expected.get(job_id)
        gone = job.owner if job and job.owner and after_owner else ""
        claimed = self.store.claim(job_id, owner, after=gone)
        may = job is not None and (
            (job.state is JobState.QUEUED and job.due <= now)
            or (job.state is JobState.PROCESSING and (job.lease_until < now or bool(gone)))
        )
        if job is None or not may:
            assert claimed is None
            return multiple()
        job.fence += 1
        if job.cancel_requested or job.attempt == ATTEMPTS:
            assert claimed is None
            self._end(job_id, JobState.CANCELED if job.cancel_requested else JobState.FAILED)
            return multiple()
        job.state, job.owner, job.lease_until = JobState.PROCESSING, owner, now + LEASE_S
        job.attempt += 1
        assert claimed is not None
        assert (claimed.fence, claimed.job.attempt) == (job.fence, job.attempt)
        return multiple(Fence(job_id, job.fence, job.attempt, owner))

    @rule(target=fences, which=WHICH, found_first=st.booleans())
    def claim_and_freeze(self, which: int, found_first: bool) -> MultipleResults[Fence]:
        """A worker falls silent; the housekeeper finds it first, or another message comes before."""
        fence = self.claim(which, after_owner=False)
        self.time_passes(LEASE_S + 0.5)
        if found_first:
            self.release()
        return fence

    @rule(fence=fences)
    def claim_again(self, fence: Fence) -> None:
        """The answer to a claim was lost, and the same call comes again."""
        job = self.expected.get(fence.job_id)
        if job and job.state is JobState.PROCESSING and job.owner == fence.owner:
            claimed = self.store.claim(fence.job_id, fence.owner)
            assert claimed is not None
            assert claimed.fence == fence.number

    @rule(fence=fences, frames=st.integers(0, 100))
    def heartbeat(self, fence: Fence, frames: int) -> None:
        job = self._held(fence)
        answer = self.store.heartbeat(fence.job_id, fence.number, frames)
        if job is None:
            assert answer == "lost"
        else:
            job.lease_until = self.clock.now_s + LEASE_S
            assert answer == ("cancel" if job.cancel_requested else "ok")

    @rule(fence=fences, times=st.integers(1, 2))
    def commit(self, fence: Fence, times: int) -> None:
        job = self._held(fence)
        before = self.expected.get(fence.job_id)
        if job:
            job.commits += not job.cancel_requested
            self._end(fence.job_id, JobState.CANCELED if job.cancel_requested else JobState.SUCCEEDED)
        expected = before is not None and before.state is JobState.SUCCEEDED and self._ended(fence)
        for _ in range(times):
            assert self.store.commit(fence.job_id, fence.number, job_result()) == expected

    @rule(fence=fences, passing=st.booleans())
    def fail(self, fence: Fence, passing: bool) -> None:
        job = self._held(fence)
        now = self.clock.now_s
        answer = self.store.fail(fence.job_id, fence.number, PASSING if passing else FINAL, attempt=fence.attempt)
        if job is None:
            before = self.expected.get(fence.job_id)
            assert answer is None or (before is not None and answer is before.state and before.fence == fence.number)
        elif job.cancel_requested:
            assert answer is JobState.CANCELED
            self._end(fence.job_id, JobState.CANCELED)
        elif passing and fence.attempt < ATTEMPTS:
            assert answer is JobState.QUEUED
            due = (self.store._redis.zscore(QUEUED, fence.job_id) or 0) / 1000  # pyright: ignore
            wait_s = BACKOFF_S * 2 ** (fence.attempt - 1)
            assert 0.8 * wait_s - 0.01 <= due - now <= 1.2 * wait_s + 0.01
            job.state, job.owner, job.due = JobState.QUEUED, None, due
        else:
            assert answer is JobState.FAILED
            self._end(fence.job_id, JobState.FAILED)

    @rule(fence=fences, times=st.integers(1, 2))
    def hand_over(self, fence: Fence, times: int) -> None:
        """The worker has to go."""
        job = self._held(fence)
        for _ in range(times):
            self.store.hand_over(fence.job_id, fence.number)
        if job and job.cancel_requested:
            self._end(fence.job_id, JobState.CANCELED)
        elif job:
            job.attempt -= 1
            job.state, job.owner, job.due = JobState.QUEUED, None, self.clock.now_s

    @rule(fence=fences)
    def stop_canceled(self, fence: Fence) -> None:
        if self._held(fence):
            self._end(fence.job_id, JobState.CANCELED)
        job = self.expected.get(fence.job_id)
        expected = job is not None and job.state is JobState.CANCELED and self._ended(fence)
        assert self.store.stop_canceled(fence.job_id, fence.number) == expected

    # -- what the housekeeper does ----------------------------------------------------------------------------------

    @rule()
    def release(self) -> None:
        now = self.clock.now_s
        queued, given_up = set(), set()
        for job_id, job in self.expected.items():
            if job.state is JobState.PROCESSING and job.lease_until < now:
                job.fence += 1
                if job.cancel_requested:
                    self._end(job_id, JobState.CANCELED)
                elif job.attempt == ATTEMPTS:
                    given_up.add(job_id)
                    self._end(job_id, JobState.FAILED)
                else:
                    queued.add(job_id)
                    job.state, job.owner, job.due = JobState.QUEUED, None, now
        assert tuple(map(set, self.store.upkeep.release_expired())) == (queued, given_up)

    @rule()
    def end_overdue(self) -> None:
        now, ended = self.clock.now_s, set()
        for job_id, job in self.expected.items():
            if job.state in LIVE and job.deadline <= now:
                ended.add(job_id)
                job.fence += 1
                self._end(job_id, JobState.CANCELED if job.cancel_requested else JobState.FAILED)
        assert set(self.store.upkeep.end_overdue()) == ended

    @rule()
    def expire(self) -> None:
        now = self.clock.now_s
        old = {job_id for job_id, job in self.expected.items() if (job.ended_at or now) + RETENTION_S <= now}
        assert set(self.store.upkeep.expire()) == old
        for job_id in old:
            assert self.store.tombstone(job_id) is not None
            self._forget(job_id)

    @rule()
    def ring(self) -> None:
        now = self.clock.now_s
        for job_id in self.store.upkeep.due_rings():
            job = self.expected[job_id]
            assert job.state is JobState.QUEUED
            assert job.due <= now

    @rule(seconds=st.sampled_from([0.5, 7.0, 20.0, LEASE_S + 0.5, LEASE_S + 0.5, DEADLINE_S, RETENTION_S]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # -- what must hold after every step ----------------------------------------------------------------------------

    @invariant()
    def the_records_are_as_expected(self) -> None:
        for job_id in self.gone:
            assert self.store.get(job_id) is None
        for job_id, expected in self.expected.items():
            job = self.store.get(job_id)
            assert job is not None
            assert (job.state, job.attempt, job.fence, job.owner) == (
                expected.state,
                expected.attempt,
                expected.fence,
                expected.owner,
            )
            assert job.attempt <= ATTEMPTS
            assert expected.commits <= 1
            assert (job.result is not None) == (expected.commits == 1)
            assert job.version >= self.versions.get(job_id, 0), "the version only grows"
            before = self.states.get(job_id, job.state)
            assert job.state is before or job.state in _reachable(before), "only transitions of the table"
            if before is not job.state:
                assert job.version > self.versions[job_id]
            if job.state.is_terminal:
                expected.frozen = expected.frozen or job
                assert job == expected.frozen, "a final record never changes"
            self.versions[job_id], self.states[job_id] = job.version, job.state

    @invariant()
    def every_record_is_in_its_sets_and_no_other(self) -> None:
        client = self.store._redis
        for key, states in (
            (QUEUED, {JobState.QUEUED}),
            (RINGS, {JobState.QUEUED}),
            (LEASES, {JobState.PROCESSING}),
            (DEADLINES, set(LIVE)),
            (EXPIRY, set(JobState) - set(LIVE)),
            (INDEX, set(JobState)),
        ):
            members = set(client.zrange(key, 0, -1))  # pyright: ignore[reportArgumentType]
            assert members == {job_id for job_id, job in self.expected.items() if job.state in states}, key
        for name in ("a", "b"):
            live: set[str] = client.smembers(f"{CLIENT}{name}:live")  # pyright: ignore[reportAssignmentType]
            assert live == {i for i, job in self.expected.items() if job.client == name and job.state in LIVE}

    # -- the model --------------------------------------------------------------------------------------------------

    def _pick(self, which: int) -> str:
        """Mostly one that is not final; else any that ever was."""
        live = [job_id for job_id, job in self.expected.items() if job.state in LIVE]
        known = live if which % 4 and live else [*self.expected, *self.gone]
        return known[which % len(known)]

    def _held(self, fence: Fence) -> Expected | None:
        """The record, when the fence is the newest and its work goes on."""
        job = self.expected.get(fence.job_id)
        held = job is not None and job.state is JobState.PROCESSING and job.fence == fence.number
        return job if held else None

    def _ended(self, fence: Fence) -> bool:
        """Whether the record ended while this fence was the newest."""
        return self.expected[fence.job_id].fence == fence.number

    def _end(self, job_id: str, state: JobState) -> None:
        job = self.expected[job_id]
        job.state, job.owner, job.ended_at = state, None, self.clock.now_s

    def _forget(self, job_id: str) -> None:
        if self.expected.pop(job_id, None):
            self.gone.append(job_id)


def _reachable(state: JobState) -> set[JobState]:
    """Where one or more transitions lead: the housekeeper's rules take several records at once."""
    found: set[JobState] = set()
    todo = [state]
    while todo:
        for following in TRANSITIONS[todo.pop()] - found:
            found.add(following)
            todo.append(following)
    return found


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(
        redis_url=redis_url,
        lease_s=LEASE_S,
        retry_backoff_s=BACKOFF_S,
        job_deadline_s=DEADLINE_S,
        retention_s=RETENTION_S,
        max_attempts=ATTEMPTS,
    )


def test_the_protocol(settings: Settings, job_input: JobInput) -> None:
    Protocol.clock = VirtualClock(settings)
    Protocol.store = Protocol.clock.store()
    Protocol.job_input = job_input
    run_state_machine_as_test(
        Protocol,
        settings=hypothesis_settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


class Caller:
    """A thread that makes random calls, as if it were many workers, of which some are slow."""

    def __init__(self, store: JobStore, job_ids: list[str], seed: int, number: int) -> None:
        self._store, self._job_ids, self._name = store, job_ids, number
        self._dice = random.Random(100 * seed + number)
        self._mine: list[Fence] = []
        self.holders: list[tuple[str, int]] = []
        self.commits: list[tuple[str, int]] = []
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            for step in range(300):
                self._call(f"{self._name}-{step}")
        except BaseException as error:
            self.failure = error

    def _call(self, owner: str) -> None:
        store, dice = self._store, self._dice
        job_id = dice.choice(self._job_ids)
        action = dice.choices(
            ["claim", "beat", "commit", "fail", "stop", "release", "cancel"], [30, 15, 8, 15, 1, 10, 0.5]
        )[0]
        if action == "claim":
            job = store.get(job_id)  # which it may take away from its owner, as if that were gone
            if claim := store.claim(job_id, owner, after=(job and job.owner) or ""):
                self.holders.append((job_id, claim.fence))
                self._mine.append(Fence(job_id, claim.fence, claim.job.attempt))
            return
        if action == "release":
            store.upkeep.release_expired()
            return
        if action == "cancel":
            store.cancel(job_id)
            return
        for fence in dice.sample(self._mine[-8:], min(1, len(self._mine))):
            if action == "beat":
                store.heartbeat(fence.job_id, fence.number, dice.randrange(100))
            elif action == "commit":
                if store.commit(fence.job_id, fence.number, job_result(key=f"by-{fence.number}")):
                    self.commits.append((fence.job_id, fence.number))
            elif action == "fail":
                store.fail(fence.job_id, fence.number, PASSING, attempt=fence.attempt)
            else:
                store.stop_canceled(fence.job_id, fence.number)


@pytest.mark.parametrize("seed", range(3))
def test_eight_threads_and_one_winner_for_each_fence(settings: Settings, job_input: JobInput, seed: int) -> None:
    """No order of calls is prescribed here: whatever comes, a record has one commit, and a fence one holder."""
    store = JobStore.connect(settings.model_copy(update={"retry_backoff_s": 0.0, "max_attempts": 6}))
    ids = [store.submit(new_id(), job_input, AnimationOptions()).id for _ in range(30)]
    callers = [Caller(store, ids, seed, number) for number in range(8)]
    for caller in callers:
        caller.thread.start()
    for caller in callers:
        caller.thread.join()
    assert [caller.failure for caller in callers if caller.failure] == []
    holders = [held for caller in callers for held in caller.holders]
    assert len(holders) == len(set(holders)), "a fence has one holder"
    commits = {commit for caller in callers for commit in caller.commits}
    winners = dict(commits)
    assert len(winners) == len(commits), "a record has one commit"
    for job_id in ids:
        job = store.get(job_id)
        assert job is not None
        assert job.attempt <= 6
        assert (job.state is JobState.SUCCEEDED) == (job_id in winners)
        if job.result:
            assert job.result.key == f"by-{winners[job_id]}"
    assert len(holders) > 30, "something happened"
    assert commits
    store.close()
