"""The life of a job on one screen: claim, fetch, animate, store, commit."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from worker import logs, tracing
from worker.catalog import find_model
from worker.engine.animation import animate_video
from worker.engine.apart import apart
from worker.engine.device_faults import as_inference_failure
from worker.engine.disclosure import Disclosure, check_label
from worker.engine.driver import Driver, driver_of, extract_motion, template_report, unpacked_sound
from worker.engine.heartbeat import Heartbeat
from worker.engine.leaving import leaving_when_told
from worker.engine.motion_template import read_template
from worker.engine.numbers import WorkerNumbers
from worker.engine.owner import is_gone, new_owner, process_name
from worker.engine.presence import Presence
from worker.engine.process import WorkerProcess, device_memory
from worker.engine.results import Outcome, outcome_of, template_outcome
from worker.engine.stages import Stages
from worker.engine.workspace import workspace
from worker.errors import AnimationError, JobCanceled, LeaseLost, QueueUnavailable, WorkerLeaves
from worker.job_queue import Delivery, TimeLimitReached, make_queue, pool_index, ring
from worker.job_store import Claim, JobStore
from worker.jobs import TASK_NAME, Job, JobError, JobKind, JobResult
from worker.media_probe import check_ffmpeg
from worker.settings import Settings

if TYPE_CHECKING:
    from model.inference.animator import Animator

_BROKEN_DEVICE_EXIT_CODE = 70
_COMMIT_AGAIN_AFTER_S = 0.5
_SUFFIXES = {JobKind.ANIMATION: "", JobKind.MOTION: ".safetensors"}

settings = Settings()
check_label(settings)
check_ffmpeg()
numbers = WorkerNumbers(settings.worker_concurrency)
queue = make_queue(
    settings,
    presence=Presence(settings),
    when_ready=lambda: numbers.serve_if_wanted(settings),
    is_idle=numbers.is_idle,
)
process = WorkerProcess(settings, when_loaded=lambda took_s: numbers.model_loaded(pool_index(), took_s))
log = logs.get_logger(__name__)


@queue.task(name=TASK_NAME, Request=Delivery)
def animate(animation_id: str) -> None:
    """Run the animation if it is ours to run. Called once per message; a duplicate message finds it claimed."""
    with numbers.at_work(pool_index()):
        _animate(animation_id)


def _animate(animation_id: str) -> None:
    store = process.store
    claim = _claim(store, animation_id)
    if claim is None:
        log.info("animation_not_ours", animation_id=animation_id)
        return
    with _told_apart(claim):
        log.info("animation_claimed", frames=claim.job.frames_total)
        try:
            stages = Stages()
            with leaving_when_told():
                result = _run(claim, stages)
            numbers.job_done(pool_index(), stages, result.frames, memory=device_memory())
            log.info(
                "animation_succeeded",
                frames=result.frames,
                size_bytes=result.size_bytes,
                **{f"{stage}_ms": round(1000 * seconds) for stage, seconds in stages.seconds.items()},
            )
        except JobCanceled:
            store.stop_canceled(animation_id, claim.fence)
            log.info("animation_canceled")
        except WorkerLeaves:
            store.hand_over(animation_id, claim.fence)
            with suppress(QueueUnavailable):
                ring(queue, animation_id)
            log.warning("animation_handed_over")
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


@contextmanager
def _told_apart(claim: Claim) -> Iterator[None]:
    """Log events and spans inside the block say whose they are."""
    job = claim.job
    tracing.set_up("animato-worker")
    with (
        logs.bound(
            animation_id=job.id,
            attempt=job.attempt,
            fence=claim.fence,
            worker=process_name(),
            **({"request_id": job.context.request_id} if job.context.request_id else {}),
        ),
        tracing.span(
            "animation",
            {"animato.animation_id": job.id, "animato.attempt": job.attempt},
            traceparent=job.context.traceparent,
        ),
    ):
        yield


def _claim(store: JobStore, animation_id: str) -> Claim | None:
    """Claim it, also from a neighbour in the pool that has died: Celery rings again at once, its lease still runs."""
    owner = new_owner()
    if claim := store.claim(animation_id, owner):
        return claim
    job = store.get(animation_id)
    if job is None or job.owner is None or not is_gone(job.owner):
        return None
    return store.claim(animation_id, owner, after=job.owner)


def _run(claim: Claim, stages: Stages) -> JobResult:
    """Fetch the inputs, animate, store the result, and make it visible with the commit."""
    job, store, storage = claim.job, process.store, process.storage
    model_name = job.options.model or settings.model
    with Heartbeat(store, claim, settings) as heartbeat, workspace(settings.data_dir, job.id) as folder:
        source, driving, output = folder / "source", folder / "driving", folder / f"result{_SUFFIXES[job.kind]}"
        with heartbeat.interruptible():
            # The wait can be left, the load goes on to its end: a half imported torch would spoil the jobs to come.
            animator = apart(process.animator, model_name)
            try:
                with stages.of("download"), tracing.span("download"):
                    if job.input.source_key:
                        apart(storage.fetch, job.input.source_key, source)
                    apart(storage.fetch, job.input.driving_key, driving)
            except FileNotFoundError as error:
                raise AnimationError("An input of this animation is no longer stored.", code="input_missing") from error
            with tracing.span("animate", {"animato.frames": job.frames_total}) as span:
                if job.kind is JobKind.MOTION:
                    outcome = _extract(claim, driving, output, animator, heartbeat, stages)
                else:
                    clip, driver = _driver(job, driving)
                    report = animate_video(
                        source,
                        clip,
                        job.input.driving,
                        output,
                        animator,
                        job.options,
                        limits=settings.limits,
                        batch_frames=settings.batch_frames,
                        driver=driver,
                        disclosure=Disclosure.of(
                            settings, job.options, find_model(model_name, settings.model_dirs), job.id
                        ),
                        on_progress=heartbeat.report,
                        stages=stages,
                    )
                    outcome = outcome_of(claim, output, report, model=model_name, result_format=job.options.format)
                # Frames go through all three at once: times, not spans.
                for stage in ("decode", "infer", "encode"):
                    span.set_attribute(f"animato.{stage}_s", round(stages.seconds[stage], 3))
            with stages.of("upload"), tracing.span("upload"):
                apart(_upload, outcome, heartbeat)
    if not _commit(claim, outcome.result):
        outcome.remove(storage)
        raise LeaseLost
    return outcome.result


def _extract(
    claim: Claim, driving: Path, output: Path, animator: Animator, heartbeat: Heartbeat, stages: Stages
) -> Outcome:
    """Write the motion template of the clip."""
    job = claim.job
    template = extract_motion(
        driving,
        job.input.driving,
        output,
        animator,
        find_model(job.options.model or settings.model, settings.model_dirs),
        job.options,
        limits=settings.limits,
        batch_frames=settings.batch_frames,
        on_progress=heartbeat.report,
        stages=stages,
    )
    return template_outcome(claim, output, template_report(template, animator.config.frame_size))


def _driver(job: Job, driving: Path) -> tuple[Path, Driver | None]:
    """Where the sound comes from, and the motion when it is that of a template."""
    if job.input.motion is None:
        return driving, None
    template = read_template(driving, find_model(job.options.model or settings.model, settings.model_dirs))
    return unpacked_sound(template, driving), driver_of(template)


def _commit(claim: Claim, result: JobResult) -> bool:
    """Make the result visible. When Redis is away for a moment, what is drawn is not thrown away for that."""
    give_up_at_s = time.monotonic() + settings.lease_s
    while True:
        try:
            return process.store.commit(claim.job.id, claim.fence, result)
        except QueueUnavailable:
            if time.monotonic() > give_up_at_s:
                raise
        time.sleep(_COMMIT_AGAIN_AFTER_S)


def _upload(outcome: Outcome, heartbeat: Heartbeat) -> None:
    outcome.store(process.storage)
    if heartbeat.stopped:
        outcome.remove(process.storage)  # nobody waits for it any more


def _fail(claim: Claim, error: AnimationError) -> None:
    shown = JobError(code=error.code, detail=error.detail, hint=error.hint, retryable=error.retryable)
    state = process.store.fail(claim.job.id, claim.fence, shown, attempt=claim.job.attempt)
    log.warning("animation_failed", code=error.code, detail=error.detail, state=state)
