"""From a received form to a record in the queue."""

from __future__ import annotations

import math

from fastapi import Request
from pydantic import ValidationError

from api.dependencies import Services
from api.errors import InvalidForm, QueueFull
from api.file_parts import URL_FIELDS
from api.idempotency import earlier_animation, fingerprint_of, held, refusals_explained
from api.input_urls import check_urls, fetch_inputs
from api.schemas import FieldProblem
from api.threads import in_thread
from api.uploads import ReceivedForm
from api.webhook_form import WEBHOOK_FIELDS, read_target
from worker import logs
from worker.animation_options import check_reference_frame
from worker.catalog import find_model
from worker.errors import AnimationError, InvalidOptions, ModelUnavailable, QueueUnavailable
from worker.idempotency_keys import Reservation
from worker.jobs import AnimationOptions, ImageFacts, Job, JobContext, JobInput, JobState, VideoFacts, new_id
from worker.squares import check_crop
from worker.submit_refusals import ClientFullError, QueueFullError

log = logs.get_logger(__name__)

_LONGEST_RETRY_S = 600
_OTHER_FIELDS = (*WEBHOOK_FIELDS, *URL_FIELDS.values())
FIELDS = (*AnimationOptions.model_fields, *_OTHER_FIELDS)


def read_options(fields: dict[str, str], services: Services) -> AnimationOptions:
    """The options of a form, with the model resolved. Raises InvalidForm with every field that is wrong."""
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
        facts = find_model(options.model or settings.model, settings.model_dirs)
    except (InvalidOptions, ModelUnavailable) as error:
        raise InvalidForm(error.detail, code=error.code, hint=error.hint, field="model") from error
    return options.model_copy(update={"model": facts.name})


async def receive(request: Request, services: Services, context: JobContext, idempotency_key: str | None) -> Job:
    """From the request to an accepted animation; to that of an earlier request when both have the same key."""
    async with held(services, idempotency_key, context.client_id) as key:
        if not (key and key.earlier):
            # Asked before the upload: nobody wants to send 100 MB to learn that the queue is away or full.
            await check_queue(services, context.client_id)
        async with services.uploads.receive(request, FIELDS) as form:
            options = await in_thread(read_options, form.fields, services)
            webhook = read_target(form.fields, services.api_settings)
            context = context.model_copy(update={"webhook": webhook})
            fingerprint = fingerprint_of(form, options)
            check_urls(form, services.api_settings)
            if key and key.earlier:
                return await earlier_animation(services, key.earlier, fingerprint)
            await fetch_inputs(request, form, services.uploads)
            facts = await services.uploads.probe(form)
            check_fit(options, *facts)
            reservation = key.reservation(fingerprint, services.api_settings.idempotency_keep_s) if key else None
            return await accept(services, form, facts, options, context, reservation)


def check_fit(options: AnimationOptions, source: ImageFacts, driving: VideoFacts) -> None:
    """Raise InvalidForm for a crop or a frame that these two files do not have."""
    checks = (
        ("source_crop", lambda: check_crop(options.source_crop, source.width, source.height, "source_crop")),
        ("driving_crop", lambda: check_crop(options.driving_crop, driving.width, driving.height, "driving_crop")),
        ("reference_frame", lambda: check_reference_frame(options.reference_frame, driving.frames)),
    )
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
    facts: tuple[ImageFacts, VideoFacts],
    options: AnimationOptions,
    context: JobContext,
    reservation: Reservation | None = None,
) -> Job:
    """Store both files, then the record; on return the animation is accepted.

    After a failure nothing is left, but for the files when it is not known whether the record was written. The record
    can be that of an earlier request with the same key: then nothing is left of this one either.
    """
    job_id = new_id()
    job_input = input_of(job_id, *facts)
    try:
        await store_inputs(services, form, job_input)
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


def input_of(job_id: str, source: ImageFacts, driving: VideoFacts) -> JobInput:
    """Where the two files of an animation are stored."""
    folder = f"animations/{job_id}"
    return JobInput(source_key=f"{folder}/source", source=source, driving_key=f"{folder}/driving", driving=driving)


async def store_inputs(services: Services, form: ReceivedForm, job_input: JobInput) -> None:
    """Store both files. Raises StorageUnavailable."""
    for key, file in ((job_input.source_key, form.source_image), (job_input.driving_key, form.driving_video)):
        await in_thread(services.storage.put_file, key, file.path, file.media_type)


async def delete_inputs(services: Services, job_input: JobInput) -> None:
    """Delete both, as far as the storage answers: the orphan sweep deletes the rest."""
    for key in (job_input.source_key, job_input.driving_key):
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
