"""The life of a job on one screen: claim, fetch, animate, store, commit."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from worker import logs
from worker.engine.animation import animate_video
from worker.engine.apart import apart
from worker.engine.device_faults import as_inference_failure
from worker.engine.heartbeat import Heartbeat
from worker.engine.owner import is_gone, new_owner
from worker.engine.presence import Presence
from worker.engine.process import WorkerProcess
from worker.engine.workspace import workspace
from worker.errors import AnimationError, JobCanceled, LeaseLost, QueueUnavailable
from worker.job_queue import TimeLimitReached, make_queue
from worker.job_store import Claim, JobStore
from worker.jobs import TASK_NAME, JobError, JobResult
from worker.settings import Settings

_BROKEN_DEVICE_EXIT_CODE = 70

settings = Settings()
queue = make_queue(settings, presence=Presence(settings))
process = WorkerProcess(settings)
log = logs.get_logger(__name__)


@queue.task(name=TASK_NAME)
def animate(animation_id: str) -> None:
    """Run the animation if it is ours to run. Called once per message; a duplicate message finds it claimed."""
    store = process.store
    claim = _claim(store, animation_id)
    if claim is None:
        log.info("animation_not_ours", animation_id=animation_id)
        return
    with logs.bound(animation_id=animation_id, attempt=claim.job.attempt, fence=claim.fence):
        log.info("animation_claimed", frames=claim.job.frames_total)
        try:
            result = _run(claim)
            log.info("animation_succeeded", frames=result.frames, size_bytes=result.size_bytes)
        except JobCanceled:
            store.stop_canceled(animation_id, claim.fence)
            log.info("animation_canceled")
        except (LeaseLost, QueueUnavailable) as stop:
            # Whoever owns it now finishes it; if nobody does, the lease runs out and the housekeeper queues it again.
            log.warning("animation_left", reason=type(stop).__name__)
        except TimeLimitReached:
            _fail(claim, AnimationError("The animation took too long.", code="deadline_exceeded"))
        except AnimationError as error:
            _fail(claim, error)
        except Exception as error:
            log.exception("animation_crashed")
            failure = as_inference_failure(error)
            try:
                _fail(claim, failure or AnimationError("The worker failed.", retryable=True))
            finally:
                if failure and failure.code == "device_error":
                    # A CUDA context never recovers from a fault: end the child, the pool starts a clean one.
                    os._exit(_BROKEN_DEVICE_EXIT_CODE)


def _claim(store: JobStore, animation_id: str) -> Claim | None:
    """Claim it, also from a neighbour in the pool that has died: Celery rings again at once, its lease still runs."""
    owner = new_owner()
    if claim := store.claim(animation_id, owner):
        return claim
    job = store.get(animation_id)
    if job is None or job.owner is None or not is_gone(job.owner):
        return None
    return store.claim(animation_id, owner, after=job.owner)


def _run(claim: Claim) -> JobResult:
    """Fetch the inputs, animate, store the result, and make it visible with the commit."""
    job, store, storage = claim.job, process.store, process.storage
    model_name = job.options.model or settings.model
    with Heartbeat(store, claim, settings) as heartbeat, workspace(settings.data_dir, job.id) as folder:
        source, driving, output = folder / "source", folder / "driving", folder / "result.mp4"
        # Not to be interrupted: a half imported torch would spoil the jobs to come.
        animator = process.animator(model_name)
        with heartbeat.interruptible():
            try:
                apart(storage.fetch, job.input.source_key, source)
                apart(storage.fetch, job.input.driving_key, driving)
            except FileNotFoundError as error:
                raise AnimationError("An input of this animation is no longer stored.", code="input_missing") from error
            report = animate_video(
                source,
                driving,
                job.input.driving,
                output,
                animator,
                job.options,
                limits=settings.limits,
                batch_frames=settings.batch_frames,
                on_progress=heartbeat.report,
            )
            result = JobResult(
                # The fence in the key: two workers that both believe to own the job never write the same object.
                key=f"animations/{job.id}/result-{claim.fence}.mp4",
                media_type="video/mp4",
                size_bytes=output.stat().st_size,
                sha256=_sha256(output),
                model=model_name,
                **report._asdict(),
            )
            apart(_upload, result, output, heartbeat)
    if not store.commit(job.id, claim.fence, result):
        storage.delete(result.key)
        raise LeaseLost
    return result


def _upload(result: JobResult, path: Path, heartbeat: Heartbeat) -> None:
    process.storage.put_file(result.key, path, result.media_type)
    if heartbeat.stopped:
        process.storage.delete(result.key)  # nobody waits for it any more


def _fail(claim: Claim, error: AnimationError) -> None:
    shown = JobError(code=error.code, detail=error.detail, hint=error.hint, retryable=error.retryable)
    state = process.store.fail(claim.job.id, claim.fence, shown, attempt=claim.job.attempt)
    log.warning("animation_failed", code=error.code, detail=error.detail, state=state)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
