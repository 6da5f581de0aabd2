"""Failures of a real Celery worker: what becomes of the animation, of the worker's child, and of the next animation."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.housekeeper import Housekeeper
from api.settings import ApiSettings
from tests.conftest import REPOSITORY, wait_until
from worker import media, pictures
from worker.job_queue import make_queue, ring
from worker.job_store import JobStore
from worker.jobs import AnimationOptions, Job, JobInput, JobState, new_id
from worker.settings import UNLIMITED, Settings
from worker.storage import Storage

Start = Callable[[str], Job]
PATIENCE_S = 90.0


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=redis_url, data_dir=tmp_path / "data", batch_frames=4, lease_s=12, heartbeat_s=2, retry_backoff_s=0.1
    )


@contextmanager
def working(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in processes of its own, and the housekeeper beside it."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    arguments = ["-m", "celery", "-A", "tests.worker.engine.stub_worker", "worker"]
    queue = make_queue(settings, only_rings=True)
    store = JobStore.connect(settings)
    housekeeper = Housekeeper(store, lambda job_id: ring(queue, job_id), ApiSettings(housekeeping_interval_s=0.1))
    with (settings.data_dir / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, *arguments], cwd=REPOSITORY, env=settings.as_environment(), stdout=log, stderr=log
        )
    housekeeper.start()
    try:
        wait_until(lambda: bool(store.workers_alive()), "the worker tells that it lives", PATIENCE_S)
        yield worker
    finally:
        housekeeper.stop()
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(60)
        finally:
            worker.kill()
            worker.wait()
            store.close()
            queue.close()


@pytest.fixture
def start(settings: Settings, job_store: JobStore, storage: Storage, source: Path, short_clip: Path) -> Start:
    image, clip = pictures.probe_image(source, UNLIMITED), media.probe_video(short_clip, UNLIMITED)

    def submit(behaviour: str) -> Job:
        job_id = new_id()
        keys = f"animations/{job_id}/source", f"animations/{job_id}/driving"
        storage.put_file(keys[0], source, "image/png")
        storage.put_file(keys[1], short_clip, "video/mp4")
        job_input = JobInput(source_key=keys[0], source=image, driving_key=keys[1], driving=clip)
        job = job_store.submit(job_id, job_input, AnimationOptions(model=behaviour))
        ring(make_queue(settings, only_rings=True), job.id)
        return job

    return submit


def ended(job_store: JobStore, job: Job) -> Job:
    def is_final() -> bool:
        found = job_store.get(job.id)
        return found is not None and found.state.is_terminal

    wait_until(is_final, f"{job.id} ends", PATIENCE_S)
    found = job_store.get(job.id)
    assert found is not None
    return found


def log_of(settings: Settings) -> str:
    return (settings.data_dir / "worker.log").read_text()


def test_a_broken_device_ends_the_child_and_spoils_nothing(
    settings: Settings, job_store: JobStore, start: Start
) -> None:
    with working(settings):
        first = start("fault-once")
        after = [start("copy") for _ in range(2)]
        done = ended(job_store, first)
        assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
        for job in after:
            assert (ended(job_store, job).state, ended(job_store, job).attempt) == (JobState.SUCCEEDED, 1)
    assert "exitcode 70" in log_of(settings), "the child ended itself"


def test_what_kills_its_worker_three_times_is_given_up(settings: Settings, job_store: JobStore, start: Start) -> None:
    with working(settings):
        poison, after = start("poison"), start("copy")
        assert ended(job_store, after).state is JobState.SUCCEEDED
        failed = ended(job_store, poison)
        assert failed.error is not None
        assert (failed.state, failed.error.code, failed.attempt) == (JobState.FAILED, "worker_crashed", 3)
        assert job_store.upkeep.dead() == [poison.id]


def test_short_memory_ends_no_attempt(
    settings: Settings, job_store: JobStore, start: Start, storage: Storage, tmp_path: Path
) -> None:
    with working(settings):
        done = ended(job_store, start("memory-for-one"))
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert done.result is not None
    video = tmp_path / "result.mp4"
    storage.fetch(done.result.key, video)
    assert media.probe_video(video, UNLIMITED).frames == 16


@pytest.mark.parametrize(
    ("number", "heard"), [(signal.SIGTERM, "Warm shutdown"), (signal.SIGQUIT, "worker_finishes_first")]
)
def test_a_worker_that_is_told_to_stop_finishes_first_and_goes(
    settings: Settings, job_store: JobStore, start: Start, number: signal.Signals, heard: str
) -> None:
    # Far longer than it will take: it waits for the animation, not for the end of its grace.
    with working(settings.model_copy(update={"shutdown_grace_s": 10 * PATIENCE_S})) as worker:
        running, waiting = start("slow"), start("copy")
        wait_until((settings.data_dir / "slow").exists, "it runs", PATIENCE_S)
        worker.send_signal(number)
        wait_until(lambda: heard in log_of(settings), "the worker has heard it", PATIENCE_S)
        (settings.data_dir / "go").touch()
        worker.wait(PATIENCE_S)
        done = job_store.get(running.id)
        assert done is not None
        assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
        left = job_store.get(waiting.id)
        assert left is not None
        assert left.state is JobState.QUEUED
        assert job_store.workers_alive() == {}, "it has told that it ends"


def test_the_time_limit_ends_the_animation_and_not_the_worker(
    settings: Settings, job_store: JobStore, start: Start
) -> None:
    # The network's process needs some time as well: what is not slow must end long before.
    limited = settings.model_copy(update={"job_time_limit_s": 15.0})
    with working(limited):
        failed = ended(job_store, start("slow"))
        assert failed.error is not None
        assert (failed.state, failed.error.code, failed.attempt) == (JobState.FAILED, "deadline_exceeded", 1)
        assert ended(job_store, start("copy")).state is JobState.SUCCEEDED
