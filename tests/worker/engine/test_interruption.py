"""A canceled job is left from wherever it waits: a network being loaded, a storage that hangs, a frozen ffmpeg, ..."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from tests.conftest import decoding_children, wait_until
from tests.worker.engine.copying_animator import CopyingAnimator
from worker import logs, media, pictures
from worker.engine import tasks
from worker.engine.apart import apart
from worker.engine.process import WorkerProcess
from worker.errors import JobCanceled
from worker.job_store import JobStore
from worker.jobs import AnimationOptions, Job, JobInput, JobState, new_id
from worker.settings import UNLIMITED, Settings
from worker.storage import Storage, open_storage

HANG_S = 100.0
"""How long each wait would take that the cancellation must end; the test's own time limit is near that."""
SOON_S = 20.0
"""Far above the second or two that it takes, for a machine that is busy with other things."""
_BATCHES = 4
"""Of the short clip: its motion is found in so many, then it is drawn in as many."""


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_s": 0.05, "batch_frames": 16 // _BATCHES})


@pytest.fixture
def job(job_store: JobStore, storage: Storage, source: Path, short_clip: Path) -> Job:
    job_id = new_id()
    job_input = JobInput(
        source_key=f"animations/{job_id}/source",
        source=pictures.probe_image(source, UNLIMITED),
        driving_key=f"animations/{job_id}/driving",
        driving=media.probe_video(short_clip, UNLIMITED),
    )
    storage.put_file(job_input.source_key, source, "image/png")
    storage.put_file(job_input.driving_key, short_clip, "video/mp4")
    return job_store.submit(job_id, job_input, AnimationOptions(model="avatars-256"))


@contextmanager
def silent_server() -> Iterator[tuple[str, Callable[[], bool]]]:
    """The address of a server that takes connections and never answers, and whether one has come."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", lambda: bool(select.select([server], [], [], 0)[0])


def run_and_cancel(
    job: Job,
    settings: Settings,
    job_store: JobStore,
    monkeypatch: pytest.MonkeyPatch,
    *,
    animator: Any = None,
    load: Callable[[str], Any] | None = None,
    storage: Storage | None = None,
    when: Callable[[], bool],
) -> None:
    """Run the job in this thread; another one cancels it as soon as `when` says that it hangs."""
    state = WorkerProcess(settings)
    monkeypatch.setattr(state, "_load", load or (lambda _name: animator))
    if storage is not None:
        state.__dict__["storage"] = storage
    monkeypatch.setattr(tasks, "settings", settings)
    monkeypatch.setattr(tasks, "process", state)
    canceled_at: list[float] = []

    def cancel() -> None:
        wait_until(when, "the job hangs")
        canceled_at.append(time.monotonic())
        job_store.cancel(job.id)

    other = threading.Thread(target=cancel)
    other.start()
    tasks.animate(job.id)
    other.join()
    took_s = time.monotonic() - canceled_at[0]
    ended = job_store.get(job.id)
    assert ended is not None
    assert ended.state is JobState.CANCELED
    assert took_s < SOON_S
    assert decoding_children() == []
    assert list((settings.data_dir / "work").iterdir()) == []


def test_while_its_inputs_are_fetched(
    job: Job, quick: Settings, job_store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_server() as (url, was_asked):
        # Made anew: a copy of settings keeps the storage URL that was worked out before.
        away = open_storage(
            Settings(
                storage_url="s3://b",
                storage_endpoint_url=url,
                storage_access_key_id="a",
                storage_secret_access_key="b",
            )
        )
        run_and_cancel(job, quick, job_store, monkeypatch, animator=CopyingAnimator(), storage=away, when=was_asked)


def test_while_its_result_is_stored(
    job: Job, quick: Settings, job_store: JobStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    put_file = storage.put_file

    def slowly(key: str, path: Path, media_type: str) -> None:
        began.set()
        go_on.wait(HANG_S)
        content = storage_dir / "kept"
        content.write_bytes(b"frames")
        put_file(key, content, media_type)

    storage_dir = quick.data_dir
    monkeypatch.setattr(storage, "put_file", slowly)
    run_and_cancel(job, quick, job_store, monkeypatch, animator=CopyingAnimator(), storage=storage, when=began.is_set)
    keys = f"animations/{job.id}"
    go_on.set()
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "apart"], "the upload has ended")
    assert not [key for key in storage.list_keys(keys) if "result" in key], "nobody waits for it: it is deleted"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the first one may be lost: see below
def test_inside_a_long_batch(job: Job, quick: Settings, job_store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    began = threading.Event()

    def long_batch(_frames_THWC: np.ndarray) -> None:
        began.set()
        deadline_s = time.monotonic() + HANG_S
        while time.monotonic() < deadline_s:
            np.sort(np.random.default_rng(0).random(1000))  # Python and C in turn, as a network on a CPU

    run_and_cancel(job, quick, job_store, monkeypatch, animator=CopyingAnimator(long_batch), when=began.is_set)


def test_where_the_first_exception_is_lost(
    job: Job, quick: Settings, job_store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, events = threading.Event(), []

    def deaf_batch(_frames_THWC: np.ndarray) -> None:
        began.set()
        try:
            time.sleep(HANG_S)
        except JobCanceled:
            events.append("lost")
        try:
            time.sleep(HANG_S)
        finally:
            time.sleep(3.0)  # longer than until the next signal
            events.append("cleaned up")

    run_and_cancel(job, quick, job_store, monkeypatch, animator=CopyingAnimator(deaf_batch), when=began.is_set)
    assert events == ["lost", "cleaned up"]


@pytest.mark.parametrize("which", ["decoder", "encoder"])
def test_while_ffmpeg_does_not_answer(
    which: str, job: Job, quick: Settings, job_store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[int] = []
    batches = itertools.count(1)

    def wanted() -> list[int]:
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in decoding_children()}
        return [pid for pid, command in commands.items() if (b"libx264" in command) == (which == "encoder")]

    def freeze(_frames_THWC: np.ndarray) -> None:
        # The encoder is started with the first drawn batch; at the last one it must be there.
        if next(batches) == 2 * _BATCHES:
            wait_until(lambda: bool(frozen or wanted()), f"there is a {which}")
        for pid in wanted()[: 1 - len(frozen)]:
            os.kill(pid, signal.SIGSTOP)
            frozen.append(pid)

    run_and_cancel(job, quick, job_store, monkeypatch, animator=CopyingAnimator(freeze), when=lambda: bool(frozen))


def test_while_its_network_is_loaded(
    job: Job, quick: Settings, job_store: JobStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, loads = threading.Event(), threading.Event(), []

    def load(name: str) -> Any:
        loads.append(name)
        began.set()
        go_on.wait(HANG_S)
        return CopyingAnimator()

    run_and_cancel(job, quick, job_store, monkeypatch, load=load, storage=storage, when=began.is_set)
    next_job = job_store.submit(new_id(), job.input, job.options)

    def load_on() -> None:
        wait_until(lambda: job_store.running_count() == 1, "the next one comes while it is still being loaded")
        go_on.set()

    other = threading.Thread(target=load_on)
    other.start()
    tasks.animate(next_job.id)
    other.join()
    ended = job_store.get(next_job.id)
    assert ended is not None
    assert ended.state is JobState.SUCCEEDED
    assert loads == ["avatars-256"], "what was begun for the canceled one is used by the next"


def test_what_is_logged_apart_says_whose_it_is() -> None:
    with logs.bound(animation_id="anm_1"):
        assert apart(structlog.contextvars.get_contextvars) == {"animation_id": "anm_1"}
    assert apart(structlog.contextvars.get_contextvars) == {}
