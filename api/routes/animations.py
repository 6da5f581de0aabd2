"""Submit, read, list and cancel animations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Header, Query, Request, Response

from api.cursors import read_cursor, write_cursor
from api.dependencies import CallerDep, JobDep, OwnJobDep, ServicesDep, SubmitterDep, WaitDep
from api.entity_tags import matches
from api.errors import Conflict, NotFound
from api.idempotency import read_key
from api.listing import page_of
from api.openapi import FORM_PROBLEMS, problems, upload_form
from api.removal import remove
from api.resource import public, resource, root_path
from api.schemas import Animation, AnimationList
from api.submission import receive, ring_doorbell
from api.threads import in_thread
from api.waiting import wait_for_change, wait_for_end
from worker import tracing
from worker.jobs import JobContext, JobState

router = APIRouter(prefix="/animations", tags=["animations"])

_QUEUE_AWAY = (503, "queue_unavailable")
_UNKNOWN = ((404, "animation_not_found"), (410, "animation_expired"))
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds until the next look is worth it.", "schema": {"type": "integer"}}
}
_ETAG = {"ETag": {"description": "For If-None-Match.", "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "Path of the animation.", "schema": {"type": "string"}}}
_APPLIED = {
    "Preference-Applied": {"description": "`wait=N` when the request preferred to wait.", "schema": {"type": "string"}}
}


@router.post(
    "",
    status_code=202,
    response_model=Animation,
    operation_id="create_animation",
    summary="Animate a picture like a video",
    response_description="Accepted: the animation will end in a final state. Poll `Location`.",
    openapi_extra=upload_form(),
    responses={
        **problems(
            *FORM_PROBLEMS,
            (400, "invalid_idempotency_key"),
            (409, "idempotency_in_progress"),
            (410, "animation_expired"),
            (409, "motion_not_ready"),
            (409, "motion_failed"),
            (422, "unknown_motion"),
            (422, "motion_other_model"),
            (422, "idempotency_key_reused"),
            (429, "queue_full"),
            _QUEUE_AWAY,
        ),
        200: {
            "description": "It has ended: within the time of `Prefer: wait`, or this is the animation of an earlier "
            "request with the same `Idempotency-Key`.",
            "model": Animation,
            "headers": {**_LOCATION, **_ETAG, **_APPLIED},
        },
        202: {"headers": {**_LOCATION, **_ETAG, **_APPLIED, **_RETRY_AFTER}},
    },
)
async def create_animation(
    request: Request,
    response: Response,
    who: SubmitterDep,
    services: ServicesDep,
    wait_s: WaitDep,
    after_answer: BackgroundTasks,
    _idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 visible ASCII characters, such as a UUID. A request that is repeated with the same "
            "key within a day makes no second animation.",
            examples=["6c2a2f3e-8f0b-4d0a-9a51-0a7d6f1f6f4e"],
            # Only said here: `read_key` checks it, with an error of its own.
            json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        ),
    ] = None,
) -> Animation:
    """Send a picture and a video as a form. Both are looked at before the answer: what is accepted can be animated."""
    context = JobContext(
        request_id=request.state.request_id, client_id=who.client_id, traceparent=tracing.current_traceparent()
    )
    job = await receive(request, services, context, read_key(request.headers.getlist("idempotency-key")))
    if wait_s:
        await in_thread(ring_doorbell, services, job)
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        job = await wait_for_end(services.watcher, job, wait_s)
    else:
        # The doorbell comes after the answer: whether it is heard is no part of the promise.
        after_answer.add_task(ring_doorbell, services, job)
    if job.state.is_terminal:
        response.status_code = 200
    response.headers["Location"] = f"{root_path(request)}/animations/{job.id}"
    return await resource(job, request, response, services)


@router.get(
    "",
    response_model=AnimationList,
    operation_id="list_animations",
    summary="List animations, newest first",
    responses=problems((400, "invalid_cursor"), (422, "invalid_request"), _QUEUE_AWAY),
)
async def list_animations(
    request: Request,
    response: Response,
    who: CallerDep,
    services: ServicesDep,
    limit: Annotated[int | None, Query(ge=1, description="How many at most.", examples=[20])] = None,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
    status: Annotated[
        JobState | None,
        Query(description="Only these. A page can then have fewer than `limit` and still have a `next_cursor`."),
    ] = None,
) -> AnimationList:
    """A page of the caller's animations. Follow `next_cursor` until it is null."""
    api_settings = services.api_settings
    wanted = min(limit or api_settings.page_default, api_settings.page_max)
    before = read_cursor(cursor) if cursor else None
    jobs, more_before = await in_thread(page_of, services, who, wanted, before, status)
    response.headers["Cache-Control"] = "no-store"
    return AnimationList(
        data=[public(job, services, root_path(request)) for job in jobs],
        next_cursor=write_cursor(more_before) if more_before else None,
    )


@router.get(
    "/{animation_id}",
    response_model=Animation,
    operation_id="get_animation",
    summary="Read an animation",
    responses={
        **problems(*_UNKNOWN, _QUEUE_AWAY),
        200: {"headers": {**_ETAG, **_APPLIED, **_RETRY_AFTER}},
        304: {"description": "Nothing has changed since the ETag in If-None-Match."},
    },
)
async def get_animation(
    request: Request,
    response: Response,
    job: JobDep,
    services: ServicesDep,
    wait_s: WaitDep,
    if_none_match: Annotated[str | None, Header(description="The `ETag` of an earlier answer.")] = None,
) -> Animation:
    """Status, progress, and at the end the result or the error. Poll it as often as `Retry-After` says."""
    animation = await resource(job, request, response, services)
    known = matches(if_none_match, response.headers["ETag"])
    if wait_s:
        # Who knows this version waits for the next one; who knows nothing yet, for the end.
        wait = wait_for_change if known else wait_for_end
        job = await wait(services.watcher, job, wait_s)
        animation = await resource(job, request, response, services)
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        known = matches(if_none_match, response.headers["ETag"])
    if known:
        # An answer that is not a resource: FastAPI passes it on as it is.
        return Response(status_code=304, headers=dict(response.headers))  # pyright: ignore[reportReturnType]
    return animation


@router.post(
    "/{animation_id}/cancel",
    status_code=202,
    response_model=Animation,
    operation_id="cancel_animation",
    summary="Cancel an animation",
    response_description="It is canceled, or will be as soon as its worker has stopped (`cancel_requested`).",
    responses={
        **problems(*_UNKNOWN, (409, "already_terminal"), _QUEUE_AWAY),
        200: {"description": "It was canceled already.", "model": Animation},
    },
)
async def cancel_animation(request: Request, response: Response, job: JobDep, services: ServicesDep) -> Animation:
    """A queued animation ends at once, a running one as soon as its worker has stopped."""
    if job.state is JobState.CANCELED:
        response.status_code = 200
        return await resource(job, request, response, services)
    after = await in_thread(services.job_store.cancel, job.id)
    if after is None:
        raise NotFound("There is no animation with this id.")
    if after.state in (JobState.SUCCEEDED, JobState.FAILED):
        raise Conflict(f"The animation has already ended as '{after.state}'.", code="already_terminal")
    return await resource(after, request, response, services)


@router.delete(
    "/{animation_id}",
    status_code=204,
    operation_id="delete_animation",
    summary="Delete an animation",
    response_description="There is no such animation (any more).",
    responses=problems(_QUEUE_AWAY),
)
async def delete_animation(job: OwnJobDep, services: ServicesDep) -> None:
    """Removes the record, both inputs and the result, in any state; running work is stopped. It can be repeated."""
    if job is not None:
        await remove(job, services)
