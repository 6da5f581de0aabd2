"""Looks at every record all the time: what may never happen, not even for a moment, is written down here."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import suppress

from tests.chaos.inputs import is_result_of, sha256
from worker.errors import QueueUnavailable, StorageUnavailable
from worker.job_store import JobStore
from worker.jobs import Job, JobState
from worker.settings import Settings
from worker.storage import Storage

_LOOK_EVERY_S = 0.1
_SHOWN = ("state", "attempt", "fence", "cancel_requested", "frames_done", "result", "error", "finished_at")
_FINAL = ("state", "attempt", "result", "error", "finished_at", "created_at", "input", "options")


class Watcher:
    """A thread that follows all records it was told of, and the times at which killed ones came back."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        # Its own connection, and less patient than the service: a frozen Redis shall not blind it for long.
        self._store = JobStore.connect(settings.model_copy(update={"redis_timeout_s": 1.0}))
        self._storage = storage
        self._max_attempts = settings.max_attempts
        self._lock = threading.Condition()
        self._open: set[str] = set()
        self._seen: dict[str, Job] = {}
        self._ended_at_s: dict[str, float] = {}
        self._unverified: set[str] = set()
        self._killed: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self.violations: list[str] = []
        self.recoveries_s: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._store.close()

    # -- what it is told --------------------------------------------------------------------------------------------

    def follow(self, job_id: str) -> None:
        """Watch this record from now on."""
        with self._lock:
            if job_id not in self._ended_at_s:
                self._open.add(job_id)

    def killed(self, pids: set[int]) -> int:
        """Note which animations these dead processes owned; how many there were."""
        now_s = time.monotonic()
        hit = 0
        with self._lock:
            following = list(self._open)
        for job_id in following:
            with suppress(QueueUnavailable):
                job = self._look(job_id)
                if job and job.state is JobState.PROCESSING and _owner_pid(job) in pids:
                    with self._lock:
                        self._killed[job_id].append((now_s, job.attempt))
                    hit += 1
        return hit

    # -- what it knows ----------------------------------------------------------------------------------------------

    def wait_until_open_at_most(self, count: int, timeout_s: float) -> bool:
        """Wait until no more than `count` of the followed animations are without an end."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self._open) <= count, timeout_s)

    @property
    def open_ids(self) -> set[str]:
        with self._lock:
            return set(self._open)

    def last(self, job_id: str) -> Job | None:
        """The record as it was seen last."""
        with self._lock:
            return self._seen.get(job_id)

    def ended_at_s(self, job_id: str) -> float | None:
        """When (on the monotonic clock) its end was seen."""
        with self._lock:
            return self._ended_at_s.get(job_id)

    def owned_by(self, pid: int) -> list[str]:
        """The running animations of a process, as seen last."""
        with self._lock:
            jobs = [self._seen[job_id] for job_id in self._open if job_id in self._seen]
        return [job.id for job in jobs if job.state is JobState.PROCESSING and _owner_pid(job) == pid]

    def look_at_all(self, job_ids: set[str]) -> dict[str, Job]:
        """A last look, at every record and every result."""
        found = {}
        for job_id in sorted(job_ids):
            if job := self._look(job_id):
                found[job_id] = job
                if job.state is JobState.SUCCEEDED:
                    self._verify_result(job)
        return found

    # -- the watch --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            # Storage and Redis are taken away on purpose: then it just looks again later.
            with suppress(QueueUnavailable, StorageUnavailable):
                for job_id in self.open_ids:
                    self._look(job_id)
                for job_id in list(self._unverified):
                    if job := self.last(job_id):
                        self._verify_result(job)

    def _look(self, job_id: str) -> Job | None:
        with self._lock:
            job = self._store.get(job_id)
            if job is None:
                return None
            before = self._seen.get(job_id)
            self._seen[job_id] = job
            if before is not None:
                self._compare(before, job)
            if job.attempt > self._max_attempts:
                self.violations.append(f"{job_id} has attempt {job.attempt}")
            self._note_recovery(job)
            if job.state.is_terminal and job_id not in self._ended_at_s:
                self._ended_at_s[job_id] = time.monotonic()
                self._open.discard(job_id)
                if job.state is JobState.SUCCEEDED:
                    self._unverified.add(job_id)
                self._lock.notify_all()
            return job

    def _compare(self, before: Job, job: Job) -> None:
        # (An attempt that was handed over does not count: `attempt` may go back.)
        if job.version < before.version or job.fence < before.fence:
            self.violations.append(f"{job.id} went back: {_short(before)} to {_short(job)}")
        if job.version == before.version and _fields(before, _SHOWN) != _fields(job, _SHOWN):
            self.violations.append(f"{job.id} changed within a version: {_short(before)} to {_short(job)}")
        if before.state.is_terminal and _fields(before, _FINAL) != _fields(job, _FINAL):
            self.violations.append(f"{job.id} changed after its end: {_short(before)} to {_short(job)}")

    def _note_recovery(self, job: Job) -> None:
        waiting = self._killed.get(job.id)
        while waiting and (job.state.is_terminal or job.attempt > waiting[0][1]):
            killed_at_s, _ = waiting.pop(0)
            self.recoveries_s.append(time.monotonic() - killed_at_s)

    def _verify_result(self, job: Job) -> None:
        """`succeeded` promises an object with these bytes, made from this source."""
        result = job.result
        problem = "has no result in its record"
        if result is not None:
            try:
                content = b"".join(self._storage.read(result.key, 0, self._storage.head(result.key).size_bytes))
            except FileNotFoundError:
                problem = f"has no object {result.key}"
            else:
                problem = ""
                if len(content) != result.size_bytes or sha256(content) != result.sha256:
                    problem = f"has other bytes in {result.key} than its record says"
                elif not is_result_of(content, job.input.picture.sha256):
                    problem = "has the result of another source"
        self._unverified.discard(job.id)
        if problem:
            self.violations.append(f"{job.id} succeeded and {problem}")


def _owner_pid(job: Job) -> int:
    """The number of the process that runs it: `host/namespace/pid/token`."""
    parts = (job.owner or "").split("/")
    return int(parts[-2]) if len(parts) >= 2 and parts[-2].isdigit() else -1


def _fields(job: Job, names: tuple[str, ...]) -> list[object]:
    return [getattr(job, name) for name in names]


def _short(job: Job) -> str:
    return f"{job.state} v{job.version} attempt {job.attempt} fence {job.fence}"
