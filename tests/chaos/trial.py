"""One scenario in progress: clients that send, a watcher that looks, and the counting at the end."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from tests.chaos.cluster import Cluster
from tests.chaos.inputs import Behaviour, any_duration, make_clip, make_source, sha256
from tests.chaos.ledger import Attempt, Counts, Ledger, Outcome, note_answer
from tests.chaos.processes import Process
from tests.chaos.watcher import Watcher
from tests.conftest import wait_until
from worker.errors import QueueUnavailable
from worker.job_queue import make_queue, ring
from worker.jobs import Job, JobInput, JobState, new_id
from worker.storage import Storage, open_storage

_CLIENT_TIMEOUT_S = 60.0
_AFTER_A_REFUSAL_S = 0.2
_LOAD_TIMEOUT_S = 3600.0
_PREFER_BUSY = 0.8


class Trial:
    """Sends, watches and counts; leave it with `finish`."""

    def __init__(
        self, name: str, cluster: Cluster, folder: Path, dice: random.Random, storage: Storage | None = None
    ) -> None:
        self.cluster = cluster
        self.dice = dice
        self.storage = storage or open_storage(cluster.settings)
        self.ledger = Ledger()
        self.watcher = Watcher(cluster.settings, self.storage)
        self.outcome = Outcome(name=name)
        self.clip = make_clip(folder)
        self._folder = folder
        self._dice_lock = threading.Lock()
        self._template_job: Job | None = None
        self._template_lock = threading.Lock()
        self._queue = make_queue(cluster.settings, only_rings=True)

    def __enter__(self) -> Self:
        self.watcher.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.watcher.stop()
        self._queue.close()

    # -- clients ----------------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        """True that often."""
        with self._dice_lock:
            return self.dice.random() < share

    def new_source(self, **behaviour: Any) -> bytes:
        """A source image; without a word on it, one that takes 0.2 to 3 s."""
        with self._dice_lock:
            wanted = {"seconds": any_duration(self.dice), **behaviour}
            return make_source(self.dice, Behaviour(**wanted))

    def request(self, source: bytes, url: str, key: str = "", *, chunked: bool = False) -> httpx.Request:
        """The POST of one animation; `key` is an Idempotency-Key, `chunked` leaves out the length."""
        files = {"source_image": ("source.png", source), "driving_video": ("clip.mp4", self.clip)}
        headers = {"Idempotency-Key": f'"{key}"'} if key else {}
        request = httpx.Request("POST", f"{url}/animations", files=files, headers=headers)
        if not chunked:
            return request
        headers = {"Content-Type": request.headers["Content-Type"]}
        return httpx.Request("POST", request.url, content=iter([request.read()]), headers=headers)

    def submit(self, source: bytes | None = None, *, url: str = "", key: str = "", chunked: bool = False) -> Attempt:
        """POST one animation and note the answer."""
        source = source or self.new_source()
        with self._dice_lock:
            url = url or self.dice.choice(self.cluster.urls)
        attempt = self.ledger.open(sha256(source))
        started_s = time.monotonic()
        try:
            with httpx.Client(timeout=_CLIENT_TIMEOUT_S) as http:
                note_answer(attempt, http.send(self.request(source, url, key, chunked=chunked)))
        except httpx.TransportError as error:
            # A connection that was never made has sent nothing.
            attempt.answer = "refused" if isinstance(error, httpx.ConnectError) else "unknown"
            attempt.code = type(error).__name__
        attempt.took_s = time.monotonic() - started_s
        if attempt.answer == "acknowledged":
            self.watcher.follow(attempt.animation_id)
        return attempt

    def submit_accepted(self, source: bytes | None = None, **more: Any) -> str:
        """POST one animation that must be accepted; its id."""
        attempt = self.submit(source, **more)
        assert attempt.answer == "acknowledged", attempt
        return attempt.animation_id

    def store_inputs(self, source: bytes) -> tuple[str, JobInput]:
        """Store the files of an animation, as the API does before it writes the record; its new id and its input."""
        job_id, facts = new_id(), self._template().input
        driving_key, source_key = f"animations/{job_id}/driving", f"animations/{job_id}/source"
        for key, content in ((source_key, source), (driving_key, self.clip)):
            path = self._folder / job_id
            path.write_bytes(content)
            self.storage.put_file(key, path, "application/octet-stream")
            path.unlink()
        image = facts.picture.model_copy(update={"sha256": sha256(source), "size_bytes": len(source)})
        return job_id, JobInput(source_key=source_key, source=image, driving_key=driving_key, driving=facts.driving)

    def publish(self, job_id: str, job_input: JobInput) -> Attempt:
        """Write the record and ring: what the API does with an upload that it has looked at."""
        attempt = self.ledger.open(job_input.picture.sha256)
        try:
            self.cluster.store.submit(job_id, job_input, self._template().options)
        except QueueUnavailable as error:
            attempt.answer, attempt.code = "unknown" if error.outcome_unknown else "refused", error.code
            return attempt
        attempt.answer, attempt.animation_id = "acknowledged", job_id
        self.watcher.follow(job_id)
        with suppress(QueueUnavailable):
            ring(self._queue, job_id)
        return attempt

    def submit_directly(self, source: bytes | None = None) -> Attempt:
        """`submit` without HTTP, upload and probe, which take many times what the queue takes."""
        return self.publish(*self.store_inputs(source or self.new_source()))

    def _template(self) -> Job:
        """An animation that came by HTTP: what is submitted directly has its facts and options."""
        with self._template_lock:
            if self._template_job is None:
                self._template_job = self.cluster.store.get(self.submit_accepted(self.new_source(seconds=0.2)))
                assert self._template_job is not None
            return self._template_job

    @contextmanager
    def load(
        self,
        count: int,
        *,
        outstanding: int,
        by_http: float = 1.0,
        clients: int = 3,
        make: Callable[[], bytes] | None = None,
    ) -> Iterator[None]:
        """Send while in the block, and until `count` are acknowledged; at most `outstanding` are without an end.

        `by_http` is the share that goes the whole way through the API.
        """
        if by_http < 1:
            self._template()  # now: later nothing may be accepted
        leaving, stop = threading.Event(), threading.Event()
        acknowledged = itertools.count(1)
        enough = threading.Event()

        def send() -> None:
            while not stop.is_set() and not (leaving.is_set() and enough.is_set()):
                if not self.watcher.wait_until_open_at_most(outstanding - 1, 0.5):
                    continue
                submit = self.submit if self.chance(by_http) else self.submit_directly
                attempt = submit(make() if make else None)
                if attempt.answer != "acknowledged":
                    stop.wait(_AFTER_A_REFUSAL_S)
                elif next(acknowledged) >= count:
                    enough.set()

        threads = [threading.Thread(target=send, name=f"client-{number}", daemon=True) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
            leaving.set()
            # When animations are lost their clients wait for ever: then what there is, is counted.
            enough.wait(min(_LOAD_TIMEOUT_S, 60 + 5 * count))
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    # -- faults -----------------------------------------------------------------------------------------------------

    def kill_a_worker(self) -> int:
        """SIGKILL a random worker's whole group and start it again; how many animations it was running.

        Only one that has come up is killed, and mostly one that works: killing what is still starting proves little.
        """
        wait_until(lambda: bool(self.cluster.ready_workers()), "a worker is up", 60)
        if self.dice.random() < _PREFER_BUSY:
            with suppress(AssertionError):  # Nobody has work: then an idle one it is.
                wait_until(lambda: bool(self._busy_workers()), "a worker is busy", 5)
        worker = self.dice.choice(self._busy_workers() or self.cluster.ready_workers())
        pids = set(worker.children())
        worker.kill()
        hit = self.watcher.killed(pids)
        worker.start()
        return hit

    def _busy_workers(self) -> list[Process]:
        return [worker for worker in self.cluster.ready_workers() if any(map(self.watcher.owned_by, worker.children()))]

    # -- what was seen ----------------------------------------------------------------------------------------------

    def mark_failures(self, allowed: set[str]) -> None:
        """Failed animations may have these codes only."""
        failed = [job for job in map(self.watcher.last, self.ledger.acknowledged_ids) if job and job.error]
        codes = {job.error.code for job in failed if job.error and job.state is JobState.FAILED}
        self.outcome.mark(codes <= allowed, f"animations failed for no other reason than {allowed} {codes or ''}")

    def mark_answers(self, allowed: set[str]) -> None:
        """POSTs may have been refused with these codes only."""
        codes = {attempt.code for attempt in self.ledger.attempts if attempt.answer != "acknowledged"}
        self.outcome.mark(codes <= allowed, f"no request was refused for another reason than {allowed} {codes or ''}")

    # -- the end ----------------------------------------------------------------------------------------------------

    def finish(self, *, settle_s: float | None = None) -> Outcome:
        """Start what is dead, wait until everything has ended, count."""
        self.cluster.revive()
        for job_id in self._all_ids():  # also those whose clients never had an answer
            self.watcher.follow(job_id)
        self.watcher.wait_until_open_at_most(0, settle_s or 60 + 6 * self.cluster.times.lease_s)
        outcome, watcher = self.outcome, self.watcher
        attempts, acknowledged = self.ledger.attempts, self.ledger.acknowledged_ids
        everything = self._all_ids() | acknowledged
        jobs = watcher.look_at_all(everything)
        states = Counter(job.state for job in jobs.values())
        asked_for = {attempt.source_sha256 for attempt in attempts}
        commits = self._commits()
        twice = {job_id for job_id, count in commits.items() if count > 1}
        of_source = Counter(job.input.picture.sha256 for job in jobs.values())
        outcome.counts = Counts(
            attempted=len(attempts),
            acknowledged=len(acknowledged),
            succeeded=states[JobState.SUCCEEDED],
            failed=states[JobState.FAILED],
            canceled=states[JobState.CANCELED],
            lost=len(acknowledged - set(jobs)),
            stuck=sum(not job.state.is_terminal for job in jobs.values()),
            duplicated=len(twice) + sum(count - 1 for count in of_source.values()),
            recovered=len(set(jobs) - acknowledged),
        )
        outcome.recoveries_s = list(watcher.recoveries_s)
        counts = outcome.counts
        outcome.mark(counts.lost == 0, "nothing acknowledged is lost")
        outcome.mark(counts.stuck == 0, "everything ended")
        outcome.mark(counts.duplicated == 0, "nothing happened twice")
        outcome.mark(not watcher.violations, "; ".join(["no record broke a rule", *watcher.violations[:5]]))
        outcome.mark(set(of_source) <= asked_for, "nothing appeared that nobody asked for")
        # The evidence of the commits is in the workers' logs; without it nothing would be counted twice, ever.
        # (A commit whose answer was lost with Redis may have been carried out: its worker says that it left.)
        spoken = set(commits) | {
            event["animation_id"]
            for event in self.worker_events()
            if event.get("event") == "animation_left" and event.get("reason") == "QueueUnavailable"
        }
        told = sum(job_id in spoken for job_id, job in jobs.items() if job.state is JobState.SUCCEEDED)
        outcome.mark(told >= 0.9 * counts.succeeded, f"the logs tell of {told} of {counts.succeeded} commits")
        self._compare_with_api(jobs)
        return outcome

    def _all_ids(self) -> set[str]:
        found: set[str] = set()
        before = None
        while page := self.cluster.store.page(200, before=before):
            found.update(job.id for job in page)
            before = page[-1].id
        return found

    def _commits(self) -> Counter[str]:
        return Counter(
            event["animation_id"] for event in self.worker_events() if event.get("event") == "animation_succeeded"
        )

    def worker_events(self) -> Iterator[dict[str, Any]]:
        """What the workers logged."""
        for worker in self.cluster.workers:
            for line in worker.log_path.read_text(errors="replace").splitlines():
                if line.startswith("{"):
                    try:
                        yield json.loads(line)
                    except ValueError:
                        continue  # the process was killed in the middle of the line

    def _compare_with_api(self, jobs: dict[str, Any]) -> None:
        """What the service shows must be what the records say."""
        with httpx.Client(base_url=self.cluster.urls[0], timeout=_CLIENT_TIMEOUT_S) as http:
            shown = {job_id: http.get(f"/animations/{job_id}").json().get("status") for job_id in jobs}
        different = [job_id for job_id, job in jobs.items() if shown[job_id] != job.state]
        self.outcome.mark(not different, f"the API shows the records as they are {different[:3] or ''}".strip())
