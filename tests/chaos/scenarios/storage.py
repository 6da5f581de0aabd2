"""The object store away, slow and failing; disks that are full: R6, R7."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.chaos.cluster import pause
from tests.chaos.faulty_proxy import FaultyProxy, Mode
from tests.chaos.ledger import Attempt, Outcome
from tests.chaos.plan import Plan, Skipped
from tests.chaos.trial import Trial
from tests.conftest import running_s3, wait_until
from worker.jobs import JobState
from worker.settings import Settings
from worker.storage import open_storage

_DISK_MIB = 8


def r6_object_store_faults(plan: Plan) -> Outcome:
    """A real S3 server behind a proxy that refuses, stalls, crawls and answers with errors."""
    (plan.folder / "s3").mkdir()
    with (
        running_s3(plan.folder / "s3") as direct,
        _proxied(direct, plan.seed) as (proxy, behind_proxy),
        plan.trial(storage=behind_proxy, watched=open_storage(direct)) as trial,
    ):
        with trial.load(plan.pick(12, 150), outstanding=8):
            for mode in _modes(trial, plan):
                pause(plan.pick(0.5, 5.0))
                proxy.mode = mode
                pause(plan.pick(2.0, 30.0))
                proxy.mode = "pass"
        outcome = trial.finish()
        trial.mark_failures({"storage_unavailable"})
        trial.mark_answers({"storage_unavailable"})
    outcome.notes["proxy"] = f"{proxy.faults} faults"
    outcome.mark(proxy.faults > 0, "the storage was disturbed")
    return outcome


def r7_disk_full(plan: Plan) -> Outcome:
    """Full disks, one after the other: of the uploads, of the storage folder, of the worker, of Redis."""
    with ExitStack() as stack:
        places = {name: plan.folder / "data" / name for name in ("uploads", "objects", "work")}
        places["redis"] = plan.folder / "redis"
        for place in places.values():
            stack.enter_context(_small_disk(place))
        trial = stack.enter_context(plan.trial(workers=2, times=replace(plan.times, retry_backoff_s=5.0)))
        refusals = {}
        for name in ("uploads", "objects", "redis"):
            trial.submit_accepted()
            with _filled(places[name]):
                refusals[name] = _refused(trial, plan.pick(3, 10))
            _works_again(trial, name)
        with _filled(places["work"]):
            stranded = trial.submit_accepted(trial.new_source(seconds=0.2))
            wait_until(lambda: _attempts(trial, stranded) > 0, "a worker has tried", 60)
        _works_again(trial, "work")
        outcome = trial.finish()
        again = trial.watcher.last(stranded)
    outcome.notes["refusals"] = str({name: sorted(set(codes)) for name, codes in refusals.items()})
    expected = {"uploads": {"disk_full"}, "objects": {"storage_unavailable"}, "redis": {"queue_unavailable"}}
    for name, codes in refusals.items():
        # A small record may still fit into the last block of a full disk: then it is accepted, rightly, and counted.
        refused = set(codes) - {"202"}
        outcome.mark(refused == expected[name], f"full {name}: {sorted(refused)}, expected {expected[name]}")
    outcome.mark(bool(again and again.state is JobState.SUCCEEDED), "what a full worker could not do was done later")
    outcome.mark(outcome.counts.failed == 0, "none failed")
    return outcome


def _modes(trial: Trial, plan: Plan) -> list[Mode]:
    modes: list[Mode] = ["refuse", "stall", "slow", "errors"]
    trial.dice.shuffle(modes)
    return modes * plan.pick(1, 2)


@contextmanager
def _proxied(direct: Settings, seed: int) -> Iterator[tuple[FaultyProxy, Settings]]:
    """A proxy in front of the server, and settings that go through it."""
    port = urlsplit(direct.storage_endpoint_url).port
    assert port is not None
    proxy = FaultyProxy(port, random.Random(f"{seed} proxy"))
    try:
        yield proxy, direct.model_copy(update={"storage_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
    finally:
        proxy.close()


@contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    """A disk of a few MiB at this folder."""
    place.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        raise Skipped("a small disk can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


@contextmanager
def _filled(place: Path) -> Iterator[None]:
    """In the block, no byte more fits onto the disk."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(os.urandom(4096))
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


def _refused(trial: Trial, times: int) -> list[str]:
    """The codes of that many POSTs that cannot succeed now; Redis is started again like a supervisor would."""
    attempts: list[Attempt] = []
    for _ in range(times):
        if not trial.cluster.redis.is_alive():
            trial.cluster.start_redis()
        # Without a length nobody can know beforehand that it does not fit.
        attempts.append(trial.submit(chunked=bool(len(attempts) % 2)))
    return [attempt.code or str(attempt.status) for attempt in attempts]


def _works_again(trial: Trial, name: str) -> None:
    """With space again, everything works without a restart (but for Redis, which ends itself rather than lie)."""

    def accepted() -> bool:
        if not trial.cluster.redis.is_alive():
            trial.cluster.start_redis()
        return trial.submit(trial.new_source(seconds=0.2)).answer == "acknowledged"

    wait_until(accepted, f"an animation is accepted after {name} was full", 60)


def _attempts(trial: Trial, job_id: str) -> int:
    job = trial.watcher.last(job_id)
    return job.attempt if job else 0
