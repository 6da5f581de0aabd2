"""From a received form to a record in the queue."""

from __future__ import annotations

import math
from functools import partial

import anyio.to_thread
from fastapi import Request
from pydantic import ValidationError

from api.dependencies import Services
from api.errors import InvalidForm, QueueFull
from api.file_parts import DRIVING_VIDEO, FILE_PARTS, MOTION, SOURCE_IMAGE, URL_FIELDS
from api.idempotency import earlier_animation, fingerprint_of, held, refusals_explained
from api.input_urls import check_urls, fetch_inputs
from api.motion_choice import DRIVING_OPTIONS, check_model, chosen_motion, unknown_motion
from api.schemas import FieldProblem
from api.threads import in_thread
from api.uploads import ReceivedForm
from api.webhook_form import WEBHOOK_FIELDS, read_target
from worker import logs
from worker.animation_options import check_reference_frame, check_views_of_motion
from worker.catalog import find_model
from worker.errors import AnimationError, InvalidOptions, ModelUnavailable, QueueUnavailable
from worker.idempotency_keys import Reservation
from worker.jobs import (
    AnimationOptions,
    ImageFacts,
    Job,
    JobContext,
    JobInput,
    JobKind,
    JobState,
    VideoFacts,
    folder_of,
    new_id,
)
from worker.squares import check_crop
from worker.submit_refusals import ClientFullError, QueueFullError

log = logs.get_logger(__name__)

_LONGEST_RETRY_S = 600
_OTHER_FIELDS = (*WEBHOOK_FIELDS, *URL_FIELDS.values(), MOTION)
FIELDS = {
    JobKind.ANIMATION: (*AnimationOptions.model_fields, *_OTHER_FIELDS),
    JobKind.MOTION: ("model", *DRIVING_OPTIONS, URL_FIELDS[DRIVING_VIDEO]),
}
FILES = {JobKind.ANIMATION: FILE_PARTS, JobKind.MOTION: (DRIVING_VIDEO,)}
"""The parts of the form of each kind."""


def read_options(fields: dict[str, str], services: Services, motion: Job | None = None) -> AnimationOptions:
    """The options of a form, with the model resolved; by default that of the motion template, if there is one.

    Raises InvalidForm with every field that is wrong.
    """
    empty = [
        FieldProblem(field=name, detail="is empty: leave the field out for its default")
        for name, text in fields.items()
        if not text.strip()
    ]
    if empty:
        raise _invalid(empty)
    try:
        options = AnimationOptions.model_validate(
            {name: text for name, text in fields.items() if name not in _OTHER_FIELDS}
        )
    except ValidationError as error:
        raise _invalid(
            [FieldProblem(field=str(item["loc"][0]), detail=item["msg"]) for item in error.errors()]
        ) from error
    settings = services.settings
    try:
        facts = find_model(options.model or (motion and motion.options.model) or settings.model, settings.model_dirs)
    except (InvalidOptions, ModelUnavailable) as error:
        raise InvalidForm(error.detail, code=error.code, hint=error.hint, field="model") from error
    if motion is not None:
        check_model(motion, facts)
        try:
            check_views_of_motion(options.views)
        except InvalidOptions as error:
            raise InvalidForm(error.detail, code=error.code, hint=error.hint, field="views") from error
    return options.model_copy(update={"model": facts.name})


async def receive(
    request: Request,
    services: Services,
    context: JobContext,
    idempotency_key: str | None,
    kind: JobKind = JobKind.ANIMATION,
) -> Job:
    """From the request to an accepted job; to that of an earlier request when both have the same key."""
    async with held(services, idempotency_key, context.client_id) as key:
        if not (key and key.earlier):
            # Asked before the upload: nobody wants to send 100 MB to learn that the queue is away or full.
            await check_queue(services, context.client_id)
        async with services.uploads.receive(request, FIELDS[kind], FILES[kind]) as form:
            motion = await chosen_motion(services, form, context.client_id)
            options = await in_thread(read_options, form.fields, services, motion)
            webhook = read_target(form.fields, services.api_settings)
            context = context.model_copy(update={"webhook": webhook})
            fingerprint = fingerprint_of(form, options)
            check_urls(form, services.api_settings)
            if key and key.earlier:
                return await earlier_animation(services, key.earlier, fingerprint)
            await fetch_inputs(request, form, services.uploads)
            job_id = new_id(kind)
            job_input = await look_at(services, form, options, job_id, motion)
            reservation = key.reservation(fingerprint, services.api_settings.idempotency_keep_s) if key else None
            return await accept(services, form, job_id, job_input, options, context, reservation, motion)


async def look_at(
    services: Services, form: ReceivedForm, options: AnimationOptions, job_id: str, motion: Job | None
) -> JobInput:
    """What the files of a form are, and where they will be stored. Raises PartRejected, or InvalidForm for a crop or a
    frame that they do not have."""
    folder = folder_of(job_id)
    source = await services.uploads.probe_image(form) if SOURCE_IMAGE in form.files else None
    if motion is not None:
        driving = motion.input.driving
    else:
        driving = await services.uploads.probe_video(form)
    check_fit(options, source, driving)
    return JobInput(
        source_key=f"{folder}/source" if source else "",
        source=source,
        driving_key=f"{folder}/driving",
        driving=driving,
        motion=motion.id if motion else None,
    )


def check_fit(options: AnimationOptions, source: ImageFacts | None, driving: VideoFacts) -> None:
    """Raise InvalidForm for a crop or a frame that these two files do not have."""
    checks = [
        ("driving_crop", lambda: check_crop(options.driving_crop, driving.width, driving.height, "driving_crop")),
        ("reference_frame", lambda: check_reference_frame(options.reference_frame, driving.frames)),
    ]
    if source is not None:
        width, height = source.width, source.height
        checks.insert(0, ("source_crop", lambda: check_crop(options.source_crop, width, height, "source_crop")))
    for field, check in checks:
        try:
            check()
        except InvalidOptions as error:
            raise InvalidForm(error.detail, code=error.code, hint=error.hint, field=field) from error


async def check_queue(services: Services, client_id: str | None) -> None:
    """Raise QueueFull when no animation can be accepted, QueueUnavailable when Redis does not answer."""
    settings = services.api_settings
    if await in_thread(services.job_store.queue_depth) >= settings.max_queued:
        raise await _queue_full(services)
    if client_id is not None and await in_thread(services.job_store.under_way, client_id) >= settings.live_per_client:
        raise await _queue_full(services, of_client=True)


async def accept(
    services: Services,
    form: ReceivedForm,
    job_id: str,
    job_input: JobInput,
    options: AnimationOptions,
    context: JobContext,
    reservation: Reservation | None = None,
    motion: Job | None = None,
) -> Job:
    """Store the files, then the record; on return the job is accepted.

    After a failure nothing is left, but for the files when it is not known whether the record was written. The record
    can be that of an earlier request with the same key: then nothing is left of this one either.
    """
    try:
        await store_inputs(services, form, job_input, motion)
        with refusals_explained(services):
            job = await in_thread(
                services.job_store.submit,
                job_id,
                job_input,
                options,
                context,
                reservation=reservation,
                max_queued=services.api_settings.max_queued,
                max_of_client=services.api_settings.live_per_client,
            )
    except Exception as error:
        if isinstance(error, QueueUnavailable) and error.outcome_unknown:
            # The record may exist: without its inputs an accepted animation would fail. Better two files too many.
            log.warning("outcome_unknown", animation_id=job_id)
            error.hint = "It is not known whether the animation was accepted: GET /animations lists it if it was."
            raise
        await delete_inputs(services, job_input)
        if isinstance(error, QueueFullError):
            raise await _queue_full(services, of_client=isinstance(error, ClientFullError)) from error
        raise
    if job.id != job_id:
        # Another request with the same key was quicker: its reservation had outlived the process that held it.
        await delete_inputs(services, job_input)
        return job
    log.info("animation_accepted", animation_id=job_id, model=options.model, frames=job.frames_total)
    return job


async def store_inputs(services: Services, form: ReceivedForm, job_input: JobInput, motion: Job | None) -> None:
    """Store the files. Of a motion template a copy: whatever becomes of it, this job has its own.

    Raises StorageUnavailable, or InvalidForm when the template was removed meanwhile.
    """
    names = {job_input.source_key: SOURCE_IMAGE, job_input.driving_key: DRIVING_VIDEO}
    for key, name in names.items():
        if key and name in form.files:
            file = form.files[name]
            put = partial(services.storage.put_file, key, file.path, file.media_type)
            await anyio.to_thread.run_sync(put, limiter=services.uploads.stores)
    if motion is not None and motion.result is not None:
        try:
            await in_thread(services.storage.copy, motion.result.key, job_input.driving_key)
        except FileNotFoundError as error:
            raise unknown_motion() from error


async def delete_inputs(services: Services, job_input: JobInput) -> None:
    """Delete them, as far as the storage answers: the orphan sweep deletes the rest."""
    for key in job_input.keys:
        try:
            await in_thread(services.storage.delete, key)
        except AnimationError:
            log.warning("orphan_left", key=key)


def ring_doorbell(services: Services, job: Job) -> None:
    """Tell the workers. A failure is no error of the request: the record is there, and the housekeeper rings again."""
    if job.state is not JobState.QUEUED:
        return  # of an earlier request with the same key
    try:
        services.ring(job.id)
    except Exception as error:
        log.warning("doorbell_not_heard", animation_id=job.id, cause=repr(error))


def _invalid(errors: list[FieldProblem]) -> InvalidForm:
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors)
    return InvalidForm(detail, field=errors[0].field, errors=errors, hint="docs/api.md lists the options.")


async def _queue_full(services: Services, *, of_client: bool = False) -> QueueFull:
    """With the time until the next queued animation is likely to begin, and so a place is free."""
    settings = services.api_settings
    if of_client:
        # Which of the client's animations ends next depends on those of others too: no estimate is honest.
        return QueueFull(
            settings.retry_after_s, f"{settings.live_per_client} animations of this client are not finished."
        )
    forecast = await services.forecaster.newest()
    wait_s = forecast.slot_free_s if forecast else math.inf
    shortest_s = settings.retry_after_s
    return QueueFull(shortest_s if wait_s == math.inf else round(min(max(wait_s, shortest_s), _LONGEST_RETRY_S)))
