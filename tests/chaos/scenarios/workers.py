"""Workers that are killed, frozen, poisoned and restarted: R1, R2, R3, R8, R9."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from datetime import datetime

from tests.chaos.cluster import PRODUCTION, pause
from tests.chaos.inputs import sha256
from tests.chaos.ledger import Outcome, percentile
from tests.chaos.plan import Plan
from tests.chaos.processes import Process
from tests.chaos.trial import Trial
from tests.conftest import wait_until
from worker.jobs import JobState


def r1_worker_groups_killed(plan: Plan) -> Outcome:
    """SIGKILL for the whole group of a random worker, again and again, under load."""
    kills, busy = plan.pick(10, 300), 0
    with plan.trial(workers=plan.pick(3, 6)) as trial:
        with trial.load(plan.pick(40, 2000), outstanding=plan.pick(6, 18), by_http=0.1):
            for _ in range(kills):
                pause(trial.dice.uniform(*plan.pick((0.4, 1.0), (1.0, 3.0))))
                busy += trial.kill_a_worker()
        outcome = trial.finish()
        trial.mark_failures({"worker_crashed"})
    outcome.notes["kills"] = f"{kills} groups, {busy} of them busy"
    outcome.mark(busy > 0, "a busy worker was killed")
    _mark_recovery(plan, outcome, 45.0)
    return outcome


def r2_pool_children_killed(plan: Plan) -> Outcome:
    """SIGKILL for a working child of a pool; its parent lives and rings again at once."""
    wanted, kills = plan.pick(8, 60), 0
    # Long leases also in the small size: with short ones it would not be seen who brings the animations back.
    with plan.trial(times=PRODUCTION) as trial:
        with trial.load(plan.pick(20, 200), outstanding=3, by_http=0.1):
            while kills < wanted:
                pause(trial.dice.uniform(0.1, 0.5))
                pid = trial.dice.choice(trial.cluster.workers[trial.dice.randrange(3)].children() or [0])
                if pid and trial.watcher.owned_by(pid):
                    with suppress(ProcessLookupError):  # it may just have gone by itself
                        os.kill(pid, signal.SIGKILL)
                    kills += trial.watcher.killed({pid})
        outcome = trial.finish()
        trial.mark_failures({"worker_crashed"})
    outcome.notes["kills"] = f"{kills} working children"
    _mark_recovery(plan, outcome, 5.0)
    return outcome


def r3_frozen_worker(plan: Plan) -> Outcome:
    """The window in which Celery loses a message: popped for a worker that is frozen, which is then killed."""
    wanted, hits, slowest_s = plan.pick(2, 20), 0, 0.0
    with plan.trial(workers=1) as trial:
        (worker,) = trial.cluster.workers
        trial.publish(*trial.store_inputs(trial.new_source(seconds=0.2)))  # so that all connections are open
        for _ in range(5 * wanted):
            trial.watcher.wait_until_open_at_most(0, 60)
            job_id, job_input = trial.store_inputs(trial.new_source(seconds=0.2))
            _freeze_while_it_listens(trial, worker)
            trial.publish(job_id, job_input)
            if trial.cluster.messages():  # its wait was just over: the message is not lost but waits
                worker.signal_group(signal.SIGCONT)
                continue
            worker.kill()
            killed_at_s = time.monotonic()
            worker.start()
            ended = trial.watcher.wait_until_open_at_most(0, 30 * plan.patience)
            slowest_s = max(slowest_s, (trial.watcher.ended_at_s(job_id) or float("inf")) - killed_at_s)
            hits += 1
            if hits == wanted or not ended:
                break
        outcome = trial.finish(settle_s=30)
    outcome.notes["window"] = f"{hits} messages vanished; the slowest animation ended after {slowest_s:.1f} s"
    outcome.mark(hits == wanted, f"the window was hit {wanted} times ({hits})")
    outcome.mark(outcome.counts.succeeded == outcome.counts.acknowledged, "all of them ran")
    limit_s = 30.0 * plan.patience
    outcome.mark(slowest_s <= limit_s, f"rung again and run in time ({slowest_s:.1f} s, at most {limit_s:.0f} s)")
    return outcome


def r8_poison(plan: Plan) -> Outcome:
    """Animations that crash, exhaust or block their worker, each three times, among others that must flow."""
    good = plan.pick(12, 240)
    kinds = ("crash", "memory", "loop")
    with plan.trial(environment={"CHAOS_TIME_LIMITS_S": "2,3"}) as trial:
        flow_s = _time_of(trial, good)
        started_s = time.monotonic()
        poisoned = [
            trial.submit_directly(trial.new_source(seconds=0.2, poison=kind)).animation_id  # among the good ones
            for kind in kinds
        ]
        with_poison_s = _time_of(trial, good, besides=len(kinds))
        outcome = trial.finish()
        took_s = time.monotonic() - started_s
        ends = [trial.watcher.last(job_id) for job_id in poisoned]
    found = sorted({f"{job.state} after {job.attempt}: {job.error.code}" for job in ends if job and job.error})
    outcome.notes["poison"] = f"{len(kinds)}: {', '.join(found)}; all over after {took_s:.0f} s"
    outcome.mark(
        all(job and (job.state, job.attempt) == (JobState.FAILED, 3) for job in ends),
        f"each poison failed after exactly 3 attempts ({', '.join(found)})",
    )
    others = outcome.counts.acknowledged - len(kinds)
    outcome.mark(outcome.counts.succeeded == others, f"all {others} others succeeded")
    share = flow_s / with_poison_s
    outcome.notes["flow"] = f"{share:.0%} of the throughput without poison"
    # One poison blocks one of three workers for longer than the few animations of the small size take altogether.
    wanted = plan.pick(0.5, 0.8) / plan.patience
    outcome.mark(share >= wanted, f"the others kept flowing ({share:.0%}, at least {wanted:.0%})")
    return outcome


def r9_rolling_restart(plan: Plan) -> Outcome:
    """SIGTERM to each worker in turn under load: short animations are finished, long ones handed over."""
    rounds, grace_s = plan.pick(1, 4), 2.0
    environment = {"REMAP_SIGTERM": "SIGQUIT", "ANIMATO_SHUTDOWN_GRACE_S": str(grace_s)}
    # More workers than work, so that what is handed over finds a free one.
    with plan.trial(times=PRODUCTION, workers=5, environment=environment) as trial:
        polite, slowest_s, long = True, 0.0, set[str]()

        def make() -> bytes:
            if not trial.chance(0.3):
                return trial.new_source()
            source = trial.new_source(seconds=8.0)
            long.add(sha256(source))
            return source

        def busy(worker: Process) -> bool:
            jobs = [trial.watcher.last(job_id) for pid in worker.children() for job_id in trial.watcher.owned_by(pid)]
            return any(job and (job.input.picture.sha256 in long) for job in jobs)

        with trial.load(plan.pick(10, 150), outstanding=3, by_http=0.1, make=make):
            for worker in trial.cluster.workers[: plan.pick(3, 5)] * rounds:
                with suppress(AssertionError):  # Or something shorter, or nothing: that is restarted as well.
                    wait_until(lambda worker=worker: busy(worker), "the worker has long work", 10)
                asked_s = time.monotonic()
                worker.terminate()
                polite &= worker.wait(60)
                slowest_s = max(slowest_s, time.monotonic() - asked_s)
                worker.kill()
                worker.start()
        outcome = trial.finish()
        waits_s = _hand_overs(trial)
    outcome.notes["restarts"] = f"{plan.pick(3, 5) * rounds}; the slowest worker was gone after {slowest_s:.1f} s"
    outcome.notes["handed over"] = f"{len(waits_s)}, claimed again after {max(waits_s, default=0):.1f} s at most"
    outcome.mark(polite, "every worker went by itself")
    limit_s = grace_s + 8.0 * plan.patience
    outcome.mark(slowest_s <= limit_s, f"gone in time ({slowest_s:.1f} s, at most {limit_s:.0f} s)")
    outcome.mark(bool(waits_s), "long animations were handed over")
    limit_s = 5.0 * plan.patience
    outcome.mark(max(waits_s, default=0) <= limit_s, f"handed over in time ({max(waits_s, default=0):.1f} s)")
    outcome.mark(outcome.counts.failed == 0, "none failed")
    return outcome


def _hand_overs(trial: Trial) -> list[float]:
    """How long each animation that a leaving worker had put back waited for its next claim."""
    events = [event for event in trial.worker_events() if "animation_id" in event]
    moments = [(event["animation_id"], event["event"], datetime.fromisoformat(event["timestamp"])) for event in events]
    waits_s = []
    for job_id, event, left_at in moments:
        if event == "animation_handed_over":
            claims = [at for other, what, at in moments if (other, what) == (job_id, "animation_claimed")]
            later = [at for at in claims if at > left_at]
            waits_s.append((min(later) - left_at).total_seconds() if later else float("inf"))
    return waits_s


def _mark_recovery(plan: Plan, outcome: Outcome, limit_s: float) -> None:
    slow_s = percentile(outcome.recoveries_s, 99)
    limit_s *= plan.patience
    outcome.mark(bool(outcome.recoveries_s), "killed animations came back")
    outcome.mark(slow_s <= limit_s, f"99% came back within {slow_s:.1f} s (at most {limit_s:.0f} s)")


def _freeze_while_it_listens(trial: Trial, worker: Process) -> None:
    """SIGSTOP while Redis has somebody waiting for a message; that lasts a second at most, so try until it fits."""

    def frozen() -> bool:
        trial.cluster.wait_for_workers()
        worker.signal_group(signal.SIGSTOP)
        info = trial.cluster.client.info("clients")
        if info["blocked_clients"] == 1:  # pyright: ignore[reportIndexIssue]
            return True
        worker.signal_group(signal.SIGCONT)
        return False

    wait_until(frozen, "the worker is frozen while it listens")


def _time_of(trial: Trial, count: int, besides: int = 0) -> float:
    """How long `count` short animations take from the first POST to the last end, beside others."""
    started_s = time.monotonic()
    with trial.load(count, outstanding=6 + besides, by_http=0, make=lambda: trial.new_source(seconds=0.5)):
        pass
    mine = [attempt.animation_id for attempt in trial.ledger.attempts[-count:]]
    wait_until(lambda: all(trial.watcher.ended_at_s(job_id) for job_id in mine), "the others end", 300)
    return time.monotonic() - started_s
