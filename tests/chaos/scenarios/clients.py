"""Clients that cancel, repeat themselves and hang up, and APIs killed in mid-upload: R10, R11, R12."""

from __future__ import annotations

import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from api.object_sweeper import ObjectSweeper
from api.settings import ApiSettings
from tests.chaos.cluster import pause
from tests.chaos.inputs import sha256
from tests.chaos.ledger import Outcome
from tests.chaos.plan import Plan
from tests.chaos.trial import Trial
from tests.conftest import wait_until
from worker.job_store import JobStore
from worker.jobs import JobState
from worker.redis_client import connect
from worker.redis_scripts import DUTY

_AT_ONCE = 8


def r10_cancel_storm(plan: Plan) -> Outcome:
    """Cancellations at random moments of queued and running animations."""
    count = plan.pick(24, 200)
    answers: dict[str, tuple[int, float]] = {}
    with plan.trial() as trial:

        def cancel_later(job_id: str, wait_s: float, url: str) -> None:
            time.sleep(wait_s)
            with httpx.Client(base_url=url, timeout=60) as http:
                status = http.post(f"/animations/{job_id}/cancel").status_code
            answers[job_id] = (status, time.monotonic())

        threads = []
        while len(threads) < count:
            trial.watcher.wait_until_open_at_most(5, 60)
            job_id = trial.submit_directly(trial.new_source(seconds=trial.dice.uniform(0.5, 3.0))).animation_id
            arguments = (job_id, trial.dice.uniform(0.0, 3.0), trial.dice.choice(trial.cluster.urls))
            threads.append(threading.Thread(target=cancel_later, args=arguments))
            threads[-1].start()
        for thread in threads:
            thread.join()
        outcome = trial.finish()
        slowest_s, wrong = 0.0, []
        for job_id, (status, at_s) in answers.items():
            job, ended_at_s = trial.watcher.last(job_id), trial.watcher.ended_at_s(job_id)
            assert job is not None
            if status in (200, 202):
                slowest_s = max(slowest_s, (ended_at_s or float("inf")) - at_s)
            promised = {200: JobState.CANCELED, 202: JobState.CANCELED, 409: JobState.SUCCEEDED}.get(status)
            if job.state is not promised:
                wrong.append(f"{status} but {job.state}")
    said = [status for status, _ in answers.values()]
    outcome.notes["cancellations"] = (
        f"{count}: {len(said) - said.count(409)} accepted, {said.count(409)} too late; slowest stop {slowest_s:.1f} s"
    )
    outcome.mark(not wrong, f"each ended as the answer to its cancellation said {wrong[:3] or ''}")
    outcome.mark(outcome.counts.canceled > 0, "some were canceled")
    limit_s = 2.0 * plan.patience
    outcome.mark(slowest_s <= limit_s, f"running ones stopped in time ({slowest_s:.1f} s, at most {limit_s:.0f} s)")
    return outcome


def r11_idempotency_storm(plan: Plan) -> Outcome:
    """Clients that send one request many times at once, hang up in the middle, and go on until they have an answer."""
    clients, repeats = plan.pick(6, 50), plan.pick(6, 20)
    ids: dict[str, set[str]] = {}
    strange: list[str] = []
    with plan.trial() as trial:
        for _ in range(-(-clients // _AT_ONCE)):
            keys = {f"chaos-{uuid.UUID(int=trial.dice.getrandbits(128))}": trial.new_source() for _ in range(_AT_ONCE)}
            keys = dict(list(keys.items())[: clients - len(ids)])
            ids |= {key: set() for key in keys}
            storm = [(key, trial.dice.getrandbits(32)) for key in keys for _ in range(repeats)]
            trial.dice.shuffle(storm)
            lanes = [
                threading.Thread(target=_repeat, args=[trial, storm[lane::_AT_ONCE], keys, ids, strange])
                for lane in range(_AT_ONCE)
            ]
            for lane in lanes:
                lane.start()
            for lane in lanes:
                lane.join()
        outcome = trial.finish()
    several = [key for key, found in ids.items() if len(found) != 1]
    outcome.notes["storm"] = f"{clients} keys, {clients * repeats} requests and their repetitions"
    outcome.mark(not several, f"every key has exactly one animation {[sorted(ids[key]) for key in several[:3]] or ''}")
    outcome.mark(not strange, f"no other answer than 200, 202, 409 and 503 {strange[:3] or ''}")
    outcome.mark(outcome.counts.succeeded == clients, f"{clients} results")
    return outcome


def _repeat(
    trial: Trial, storm: list[tuple[str, int]], keys: dict[str, bytes], ids: dict[str, set[str]], strange: list[str]
) -> None:
    """Send each request of a lane, sometimes hanging up in the middle, until it has its answer."""
    for key, seed in storm:
        dice = random.Random(seed)
        while True:
            url = dice.choice(trial.cluster.urls)
            if dice.random() < 0.5:
                _hang_up_in_the_middle(trial, keys[key], url, dice, key)
                continue
            attempt = trial.submit(keys[key], url=url, key=key)
            if attempt.answer == "acknowledged":
                ids[key].add(attempt.animation_id)
                break
            if attempt.status not in (0, 409, 503):
                strange.append(f"{attempt.status} {attempt.code}")
                break
            time.sleep(0.1)


def r12_api_killed_in_mid_upload(plan: Plan) -> Outcome:
    """SIGKILL of the API in mid-upload, at any moment and between the files and the record; then the sweep."""
    kills = plan.pick(5, 100)
    with plan.trial(workers=2) as trial:
        cluster = trial.cluster
        started_s = time.monotonic()
        _upload_three(trial, cluster.urls[0])()
        whole_s = time.monotonic() - started_s
        for number in range(kills):
            api = cluster.apis[number % 2]
            known = _stored(trial)
            wait_for_answers = _upload_three(trial, cluster.urls[number % 2])
            if number % 2:
                _wait_for_more_than(trial, known, 3 * whole_s)
            else:
                pause(trial.dice.uniform(0.0, whole_s))
            api.kill()
            wait_for_answers()
            api.start()
            wait_until(lambda api=api: api.has_said("startup complete"), "the API is back", 60)
        outcome = trial.finish()
        records = {job.id: job for job in cluster.store.page(10 * kills)}

        def orphans() -> list[str]:
            return [key for key in _stored(trial) if key.split("/")[1] not in records]

        left = len(orphans())
        _sweep_two_hours_later(trial)
        remaining = orphans()
        stored = _stored(trial)
    folders = [path for path in (cluster.data_dir / "uploads").glob("api-*/*") if path.name != "lock"]
    outcome.notes["kills"] = f"{kills}; {left} objects without a record before the sweep, {len(remaining)} after it"
    outcome.mark(left > 0, "an API was killed between the files and the record")
    outcome.mark(not remaining, f"no orphans are left {remaining[:2] or ''}")
    outcome.mark(not folders, f"no upload folder is left {folders[:2] or ''}")
    missing = [job_id for job_id, job in records.items() if {job.input.source_key, job.input.driving_key} - stored]
    outcome.mark(not missing, f"every record has both inputs {missing[:2] or ''}")
    outcome.mark(outcome.counts.failed == 0, "none failed")
    return outcome


def _upload_three(trial: Trial, url: str) -> Callable[[], None]:
    """Begin three uploads at once; the answer waits for their end."""
    uploads = [
        threading.Thread(target=trial.submit, kwargs={"source": trial.new_source(seconds=0.2), "url": url})
        for _ in range(3)
    ]
    for upload in uploads:
        upload.start()

    def wait_for_answers() -> None:
        for upload in uploads:
            upload.join()

    return wait_for_answers


def _stored(trial: Trial) -> set[str]:
    return set(trial.storage.list_keys("animations"))


def _wait_for_more_than(trial: Trial, known: set[str], timeout_s: float) -> None:
    """Until an input is stored that was not there: its record comes a moment later."""
    deadline_s = time.monotonic() + timeout_s
    while not _stored(trial) - known and time.monotonic() < deadline_s:
        pass


def _sweep_two_hours_later(trial: Trial) -> None:
    """Let the sweeper do its round when what was left behind is old enough for it, and the APIs' turns are over."""
    cluster = trial.cluster
    for api in cluster.apis:
        api.kill()
    for duty in ("object_sweeper", "orphan_sweep"):
        cluster.client.delete(DUTY + duty)
    settings = ApiSettings()
    later = "local function now_ms() local t = redis.call('TIME') return t[1] * 1000 + 7200000 end\n"
    store = JobStore(connect(cluster.settings), cluster.settings, clock=later)
    ObjectSweeper(store, trial.storage, cluster.data_dir / "uploads", settings).sweep()
    store.close()


def _hang_up_in_the_middle(trial: Trial, source: bytes, url: str, dice: random.Random, key: str) -> None:
    """Send a part of the request, of random length, and close; or all of it, without waiting for the answer."""
    trial.ledger.open(sha256(source))
    request = trial.request(source, url, key)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    whole = f"POST /animations HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    place = urlsplit(url)
    with suppress(OSError), socket.create_connection((str(place.hostname), int(place.port or 80))) as connection:
        connection.sendall(whole[: dice.randint(1, len(whole))])
        time.sleep(dice.choice((0.0, 0.05, 0.3)))
