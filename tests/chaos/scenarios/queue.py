"""Redis killed and frozen, workers frozen past their lease: R4, R5."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import httpx

from tests.chaos.cluster import PRODUCTION, SHORT, pause
from tests.chaos.ledger import Outcome
from tests.chaos.plan import Plan
from tests.chaos.processes import is_stopped
from tests.chaos.trial import Trial
from tests.conftest import wait_until
from worker.jobs import JobState


def r4_redis_killed(plan: Plan) -> Outcome:
    """`kill -9` of Redis in the middle of its work, and a restart from its append-only file, again and again."""
    kills, down_s, resumed_s = plan.pick(3, 20), plan.pick((1.5, 3.0), (1.0, 4.0)), []
    # The absence is shorter than the lease here; R5 has the longer one.
    with plan.trial(times=plan.pick(replace(SHORT, lease_s=10.0, heartbeat_s=2.0), PRODUCTION)) as trial:
        cluster = trial.cluster
        with trial.load(plan.pick(15, 200), outstanding=6, by_http=0.2), _asking(trial) as answers:
            for _ in range(kills):
                pause(trial.dice.uniform(*plan.pick((0.5, 2.0), (3.0, 6.0))))
                cluster.redis.kill()
                pause(trial.dice.uniform(*down_s))
                cluster.start_redis()
                back_s, claims = time.monotonic(), _claims(trial)
                with suppress(AssertionError):  # the mark below says it
                    wait_until(lambda claims=claims: _claims(trial) > claims, "a worker claims again", 65)
                resumed_s.append(time.monotonic() - back_s)
        outcome = trial.finish()
    refused = [answer for answer in answers if answer[0] == 503]
    slowest_s = max((took_s for _, took_s in answers), default=0.0)
    outcome.notes["while Redis was down"] = f"{len(refused)} times 503, the slowest answer after {slowest_s:.1f} s"
    outcome.notes["workers"] = f"claimed again at most {max(resumed_s):.1f} s after Redis was back"
    outcome.mark(bool(refused), "the API answered 503 while Redis was down")
    outcome.mark({status for status, _ in answers} <= {200, 503}, "the API answered nothing but 200 and 503")
    outcome.mark(slowest_s <= 5.0 * plan.patience, f"within 5 s ({slowest_s:.1f} s)")
    outcome.mark(max(resumed_s) <= 60.0, f"workers resumed within 60 s ({max(resumed_s):.1f} s)")
    outcome.mark(outcome.counts.failed == 0, "none failed")
    return outcome


def r5_frozen_past_the_lease(plan: Plan) -> Outcome:
    """Redis frozen past the lease, and workers frozen when they were about to commit: the fence refuses them."""
    timeout_s, frozen_s, thaws = plan.pick((1.0, 12.0, 2), (5.0, 90.0, 9))
    with plan.trial(environment={"ANIMATO_REDIS_TIMEOUT_S": str(timeout_s)}) as trial:
        cluster = trial.cluster
        with trial.load(plan.pick(10, 100), outstanding=6, by_http=0.2), _asking(trial, patience_s=30) as answers:
            pause(trial.dice.uniform(0.5, 1.5))
            cluster.redis.signal_group(signal.SIGSTOP)
            pause(frozen_s)
            cluster.redis.signal_group(signal.SIGCONT)
        refused = _commits_of_the_frozen(trial, thaws)
        outcome = trial.finish()
    slowest_s = max((took_s for _, took_s in answers), default=0.0)
    outcome.notes["frozen"] = f"Redis for {frozen_s:.0f} s; the slowest answer came after {slowest_s:.1f} s"
    outcome.notes["thawed"] = f"{thaws} workers that had lost their lease; {refused} of them were refused"
    limit_s = plan.pick(3.0, 6.0) * plan.patience
    outcome.mark(slowest_s <= limit_s, f"no request was stuck ({slowest_s:.1f} s, at most {limit_s:.0f} s)")
    outcome.mark({status for status, _ in answers} <= {200, 503}, "the API answered nothing but 200 and 503")
    outcome.mark(refused == thaws, "each worker that came too late was refused")
    return outcome


def _commits_of_the_frozen(trial: Trial, count: int) -> int:
    """Freeze a child with its result in hand until another has finished the animation, then let it go on."""
    refused = 0
    for _ in range(count):
        job_id = trial.submit_directly(trial.new_source(seconds=0.2, poison="freeze")).animation_id
        patience_s = 30 + 5 * trial.cluster.times.lease_s
        wait_until(lambda job_id=job_id: trial.watcher.ended_at_s(job_id) is not None, "another ends it", patience_s)
        children = [pid for worker in trial.cluster.workers for pid in worker.children()]
        for pid in filter(is_stopped, children):
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda job_id=job_id: _has_had_its_say(trial, job_id), "the late one has had its say", 60)
        job = trial.watcher.last(job_id)
        refused += bool(job and job.state is JobState.SUCCEEDED and job.attempt == 2)
    return refused


def _has_had_its_say(trial: Trial, job_id: str) -> bool:
    """Whether a runner has said that the animation is not its own any more (or, unguarded, has ended it)."""
    said = [event["event"] for event in trial.worker_events() if event.get("animation_id") == job_id]
    return "animation_left" in said or said.count("animation_succeeded") > 1


def _claims(trial: Trial) -> int:
    return sum(event.get("event") == "animation_claimed" for event in trial.worker_events())


@contextmanager
def _asking(trial: Trial, patience_s: float = 60.0) -> Iterator[list[tuple[int, float]]]:
    """Beside the block, ask both APIs for the list again and again; status and time of each answer."""
    answers: list[tuple[int, float]] = []
    stop = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=patience_s) as http:
            while not stop.wait(0.2):
                started_s = time.monotonic()
                status = _status(http)
                answers.append((status, time.monotonic() - started_s))

    threads = [threading.Thread(target=ask, args=[url], daemon=True) for url in trial.cluster.urls]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _status(http: httpx.Client) -> int:
    """The status; 0 when there was no proper answer."""
    try:
        response = http.get("/animations")
    except httpx.TransportError:
        return 0
    if response.status_code == 503 and response.json().get("code") != "queue_unavailable":
        return 0
    return response.status_code
