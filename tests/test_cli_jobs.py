"""`animato jobs`: an operator looks at animations, cancels them, and tries failed ones again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.conftest import REPOSITORY
from worker.job_store import JobStore
from worker.jobs import BELLS_KEY, AnimationOptions, Job, JobContext, JobError, JobInput, JobState, new_id
from worker.retrying import retry
from worker.settings import Settings
from worker.storage import Storage


def animato(settings: Settings, *arguments: str, succeeds: bool = True) -> str:
    run = subprocess.run(
        [sys.executable, REPOSITORY / "animato.py", "jobs", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=settings.as_environment(),
    )
    assert (run.returncode == 0) is succeeds, run
    assert "Traceback" not in run.stderr
    return run.stdout if succeeds else run.stderr


def submit(store: JobStore, storage: Storage, job_input: JobInput) -> Job:
    job_id = new_id()
    keys = {f"{name}_key": f"animations/{job_id}/{name}" for name in ("source", "driving")}
    for key in keys.values():
        storage.put_bytes(key, key.encode())
    return store.submit(
        job_id,
        job_input.model_copy(update=keys),
        AnimationOptions(motion_transfer="absolute"),
        JobContext(client_id="me"),
    )


def fail(store: JobStore, job: Job, code: str) -> None:
    claim = store.claim(job.id, "w")
    assert claim is not None
    store.fail(job.id, claim.fence, JobError(code=code, detail="it failed"), attempt=1)


def test_dead_ones_are_listed_and_tried_again(
    settings: Settings, job_store: JobStore, storage: Storage, job_input: JobInput
) -> None:
    jobs = [submit(job_store, storage, job_input) for _ in range(4)]
    for job, code in zip(jobs, ("worker_crashed", "out_of_memory", "worker_crashed"), strict=False):
        fail(job_store, job, code)

    listed = animato(settings, "dead").splitlines()
    assert {line.split()[0] for line in listed} == {job.id for job in jobs[:3]}
    assert all("failed" in line and ("worker_crashed" in line or "out_of_memory" in line) for line in listed)

    failed = job_store.get(jobs[0].id)
    said = animato(settings, "retry", jobs[0].id)
    again = job_store.get(said.split()[-1])
    assert again is not None
    assert (again.state, again.attempt) == (JobState.QUEUED, 0)
    assert (again.context.retry_of, again.context.client_id) == (jobs[0].id, "me")
    assert again.options == jobs[0].options
    for name, key in (("source", again.input.source_key), ("driving", again.input.driving_key)):
        assert b"".join(storage.read(key, 0, 100)) == f"animations/{jobs[0].id}/{name}".encode(), "a copy"
    assert job_store._redis.llen(BELLS_KEY) == 1, "the workers are told"
    assert job_store.get(jobs[0].id) == failed, "a final record never changes"
    assert "not on the dead list" in animato(settings, "retry", jobs[0].id, succeeds=False)
    assert "not on the dead list" in animato(settings, "retry", jobs[3].id, succeeds=False)
    assert "no animation" in animato(settings, "retry", new_id(), succeeds=False)

    said = animato(settings, "retry", "--all", "--code", "worker_crashed")
    assert said.splitlines()[0].startswith(jobs[2].id)
    assert job_store.upkeep.dead() == [jobs[1].id]


def test_look_and_cancel(settings: Settings, job_store: JobStore, storage: Storage, job_input: JobInput) -> None:
    job = submit(job_store, storage, job_input)
    assert animato(settings, "list").split()[:1] == [job.id]
    assert json.loads(animato(settings, "show", job.id))["context"]["client_id"] == "me"
    assert "canceled" in animato(settings, "cancel", job.id)
    ended = job_store.get(job.id)
    assert ended is not None
    assert ended.state is JobState.CANCELED
    assert "no animation" in animato(settings, "show", "anm_0", succeeds=False)


def test_of_two_operators_one_wins_and_nothing_is_left_of_the_other(
    job_store: JobStore, storage: Storage, job_input: JobInput
) -> None:
    job = submit(job_store, storage, job_input)
    fail(job_store, job, "worker_crashed")
    failed = job_store.get(job.id)
    assert failed is not None
    first, second = retry(failed, job_store, storage), retry(failed, job_store, storage)
    assert first is not None
    assert second is None
    assert {key.split("/")[1] for key in storage.list_keys("animations")} == {job.id, first.id}


def test_a_reader_that_has_seen_enough_is_no_error(
    settings: Settings, job_store: JobStore, storage: Storage, job_input: JobInput
) -> None:
    submit(job_store, storage, job_input)
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, REPOSITORY / "animato.py", "jobs", "list"]
    run = subprocess.run(
        command, stdout=writes, stderr=subprocess.PIPE, timeout=100, check=False, env=settings.as_environment()
    )
    os.close(writes)
    assert run.stderr == b""
