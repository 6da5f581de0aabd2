"""The life of a job in this process: real Redis, real storage, real network; the message itself is called by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.inference.animator import Animator
from worker import media, pictures
from worker.engine import tasks
from worker.engine.process import WorkerProcess
from worker.errors import LeaseLost, StorageUnavailable
from worker.job_store import JobStore
from worker.jobs import AnimationOptions, Job, JobInput, JobKind, JobState, new_id
from worker.settings import UNLIMITED, Settings
from worker.storage import Storage

Submit = Callable[..., Job]


@pytest.fixture
def process(settings: Settings, animator: Animator, monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """The task's process state, on the test's Redis and storage, with the network loaded already."""
    quick = settings.model_copy(update={"heartbeat_s": 0.02, "retry_backoff_s": 0.0, "batch_frames": 4})
    state = WorkerProcess(quick)
    monkeypatch.setattr(state, "animator", lambda _name: animator)
    monkeypatch.setattr(tasks, "settings", quick)
    monkeypatch.setattr(tasks, "process", state)
    return state


@pytest.fixture
def submit(job_store: JobStore, storage: Storage, source: Path, short_clip: Path) -> Submit:
    def call(options: AnimationOptions = AnimationOptions(model="avatars-256")) -> Job:  # noqa: B008 - frozen
        job_id = new_id()
        job_input = JobInput(
            source_key=f"animations/{job_id}/source",
            source=pictures.probe_image(source, UNLIMITED),
            driving_key=f"animations/{job_id}/driving",
            driving=media.probe_video(short_clip, UNLIMITED),
        )
        storage.put_file(job_input.source_key, source, "image/png")
        storage.put_file(job_input.driving_key, short_clip, "video/mp4")
        return job_store.submit(job_id, job_input, options)

    return call


def ended(job_store: JobStore, job: Job) -> Job:
    found = job_store.get(job.id)
    assert found is not None
    return found


def result_keys(storage: Storage, job: Job) -> list[str]:
    return [key for key in storage.list_keys(f"animations/{job.id}") if "result" in key]


def test_one_result_and_duplicates_die(
    process: WorkerProcess, submit: Submit, job_store: JobStore, storage: Storage
) -> None:
    job = submit()
    tasks.animate(job.id)
    done = ended(job_store, job)
    assert done.state is JobState.SUCCEEDED
    assert done.result is not None
    assert (done.result.frames, done.result.has_audio, done.frames_done) == (16, True, 16)
    assert storage.head(done.result.key).size_bytes == done.result.size_bytes
    tasks.animate(job.id)
    assert ended(job_store, job) == done
    assert result_keys(storage, job) == [done.result.key]
    assert not list((process.settings.data_dir / "work").iterdir())


def test_views_become_visible_with_the_result_or_not_at_all(
    process: WorkerProcess, submit: Submit, job_store: JobStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = AnimationOptions(model="avatars-256", format="gif", views="flow,comparison")
    late, job = submit(options), submit(options)
    stored: list[str] = []

    def refused(*_: object) -> bool:
        stored.extend(result_keys(storage, late))
        return False

    with monkeypatch.context() as patch:
        patch.setattr(process.store, "commit", refused)
        tasks.animate(late.id)
    assert len(stored) == 3
    assert result_keys(storage, late) == [], "a late worker leaves nothing"
    tasks.animate(job.id)
    result = ended(job_store, job).result
    assert result is not None
    assert result.media_type == "image/gif"
    assert set(result.views) == {"comparison", "flow"}
    assert set(result_keys(storage, job)) == set(result.keys) == {result.key, *(v.key for v in result.views.values())}
    for described in (result, *result.views.values()):
        content = b"".join(storage.read(described.key, 0, described.size_bytes))
        assert hashlib.sha256(content).hexdigest() == described.sha256
    assert not list((process.settings.data_dir / "work").iterdir())


def test_a_motion_is_extracted_and_used(
    process: WorkerProcess, submit: Submit, job_store: JobStore, storage: Storage, short_clip: Path
) -> None:
    by_clip = submit()
    job_id = new_id(JobKind.MOTION)
    job_input = JobInput(driving_key=f"motions/{job_id}/driving", driving=by_clip.input.driving)
    storage.put_file(job_input.driving_key, short_clip, "video/mp4")
    extraction = job_store.submit(job_id, job_input, AnimationOptions(model="avatars-256"))
    tasks.animate(extraction.id)
    motion = ended(job_store, extraction)
    assert motion.result is not None, motion.error
    assert motion.result.key == f"motions/{job_id}/result-1.safetensors"
    assert (motion.result.frames, motion.result.has_audio, motion.frames_done) == (16, True, 16)

    by_motion = submit_copy(job_store, storage, by_clip, motion)
    for job in (by_clip, by_motion):
        tasks.animate(job.id)
    one, other = (ended(job_store, job).result for job in (by_clip, by_motion))
    assert one is not None
    assert other is not None
    assert (other.frames, other.has_audio, other.driving_crop) == (16, True, one.driving_crop)
    assert (other.reference_frame, other.warnings) == (one.reference_frame, one.warnings)
    assert job_store.speed("avatars-256") != job_store.speed("mot_avatars-256")


def submit_copy(job_store: JobStore, storage: Storage, like: Job, motion: Job) -> Job:
    """The same animation by a template."""
    job_id = new_id()
    keys = {"source_key": f"animations/{job_id}/source", "driving_key": f"animations/{job_id}/driving"}
    storage.copy(like.input.source_key, keys["source_key"])
    storage.copy(motion.result.key if motion.result else "", keys["driving_key"])
    return job_store.submit(job_id, like.input.model_copy(update={**keys, "motion": motion.id}), like.options)


def test_an_unknown_id_is_nobodys_job(process: WorkerProcess) -> None:
    tasks.animate(new_id())
    assert process.store.page(10) == []


def test_a_lost_lease_throws_the_result_away(
    process: WorkerProcess, submit: Submit, job_store: JobStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()
    monkeypatch.setattr(process.store, "commit", lambda *_: False)
    tasks.animate(job.id)
    assert ended(job_store, job).state is JobState.PROCESSING, "the other owner's business"
    assert result_keys(storage, job) == []


def test_a_result_that_cannot_be_stored_is_none(
    process: WorkerProcess, submit: Submit, job_store: JobStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()

    def away(*_: object) -> None:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(process.storage, "put_file", away)
        tasks.animate(job.id)
    assert ended(job_store, job).state is JobState.QUEUED
    while ended(job_store, job).state is JobState.QUEUED:
        tasks.animate(job.id)
    done = ended(job_store, job)
    assert done.result is not None
    assert result_keys(storage, job) == [done.result.key]


def test_cancel_while_it_runs(
    process: WorkerProcess, submit: Submit, job_store: JobStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()
    animate_video = tasks.animate_video

    def canceled_meanwhile(*args: object, on_progress: Callable[[int], None], **more: object) -> object:
        job_store.cancel(job.id)
        while True:  # the heartbeat's answer ends it
            on_progress(1)

    monkeypatch.setattr(tasks, "animate_video", canceled_meanwhile)
    tasks.animate(job.id)
    assert ended(job_store, job).state is JobState.CANCELED
    assert result_keys(storage, job) == []
    monkeypatch.setattr(tasks, "animate_video", animate_video)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), JobState.QUEUED, "out_of_memory"),
        (MemoryError(), JobState.QUEUED, "out_of_memory"),
        (StorageUnavailable("away"), JobState.QUEUED, "storage_unavailable"),
        (RuntimeError("surprise"), JobState.QUEUED, "internal_error"),
        (tasks.TimeLimitReached(), JobState.FAILED, "deadline_exceeded"),
        (tasks.AnimationError("bad", code="media_rejected"), JobState.FAILED, "media_rejected"),
    ],
)
def test_failures(
    error: Exception,
    state: JobState,
    code: str,
    process: WorkerProcess,
    submit: Submit,
    job_store: JobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = submit()

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tasks, "animate_video", fail)
    tasks.animate(job.id)
    assert ended(job_store, job).state is state
    while ended(job_store, job).state is JobState.QUEUED:
        tasks.animate(job.id)
    failed = ended(job_store, job)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (JobState.FAILED, code)
    assert failed.attempt == (3 if state is JobState.QUEUED else 1)
    assert "surprise" not in failed.error.detail, "an unexpected message may tell what is nobody's business"


def test_a_device_fault_ends_the_child_after_the_job_is_queued_again(
    process: WorkerProcess, submit: Submit, job_store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()

    class ChildEndedError(BaseException):
        pass

    def fault(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    def end(code: int) -> None:
        assert code == 70
        assert ended(job_store, job).state is JobState.QUEUED
        raise ChildEndedError

    monkeypatch.setattr(tasks, "animate_video", fault)
    monkeypatch.setattr(tasks.os, "_exit", end)
    with pytest.raises(ChildEndedError):
        tasks.animate(job.id)


def test_a_missing_input_is_final(
    process: WorkerProcess, submit: Submit, job_store: JobStore, storage: Storage
) -> None:
    job = submit()
    storage.delete(job.input.driving_key)
    tasks.animate(job.id)
    failed = ended(job_store, job)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (JobState.FAILED, "input_missing")


def test_leaving_because_the_lease_is_lost_changes_nothing(
    process: WorkerProcess, submit: Submit, job_store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()

    def lost(*_: object, **__: object) -> None:
        raise LeaseLost

    monkeypatch.setattr(tasks, "animate_video", lost)
    tasks.animate(job.id)
    assert ended(job_store, job).state is JobState.PROCESSING
