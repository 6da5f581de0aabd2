"""Motion templates: extract the motion of a video once, use it with any picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.cursors import read_cursor, write_cursor
from api.dependencies import CallerDep, Services, ServicesDep, SubmitterDep
from api.downloads import download
from api.errors import Conflict, Gone, NotFound
from api.idempotency import read_key
from api.listing import page_of
from api.motion_schemas import Motion, MotionList
from api.openapi import FORM_PROBLEMS, motion_form, problems
from api.removal import remove
from api.resource import place_and_eta, root_path
from api.submission import receive, ring_doorbell
from api.threads import in_thread
from worker import tracing
from worker.jobs import Job, JobContext, JobKind, JobState, is_id

router = APIRouter(prefix="/motions", tags=["motions"])

_QUEUE_AWAY = (503, "queue_unavailable")
_UNKNOWN = ((404, "motion_not_found"), (410, "motion_expired"))
_FILE_PATH = "/{motion_id}/file"
_FILE = {"application/vnd.animato.motion+safetensors": {"schema": {"type": "string", "format": "binary"}}}

MotionId = Annotated[str, Path(description="The `id` of the motion.", examples=["mot_01kar5x8m2q7v9w3e6z0h4t1yc"])]


async def _own_motion(motion_id: MotionId, who: CallerDep, services: ServicesDep) -> Job | None:
    job = await in_thread(services.job_store.get, motion_id) if is_id(motion_id, JobKind.MOTION) else None
    return job if job and who.owns(job) else None


OwnMotionDep = Annotated[Job | None, Depends(_own_motion)]


async def _motion(motion_id: MotionId, job: OwnMotionDep, who: CallerDep, services: ServicesDep) -> Job:
    if job is not None:
        return job
    known = is_id(motion_id, JobKind.MOTION)
    gone = await in_thread(services.job_store.tombstone, motion_id) if known else None
    if gone and gone.client_id == who.client_id:
        raise Gone("The time for which this motion was kept is over.", code="motion_expired")
    raise NotFound(
        "There is no motion with this id.", code="motion_not_found", hint="GET /motions lists those that exist."
    )


MotionDep = Annotated[Job, Depends(_motion)]
"""The caller's motion; else 404, or 410 when its time is over."""


@router.post(
    "",
    status_code=202,
    response_model=Motion,
    operation_id="create_motion",
    summary="Extract the motion of a video",
    response_description="Accepted: it will end in a final state. Poll `Location`.",
    openapi_extra=motion_form(),
    responses={
        **problems(
            *FORM_PROBLEMS,
            (400, "invalid_idempotency_key"),
            (409, "idempotency_in_progress"),
            (410, "animation_expired"),
            (422, "idempotency_key_reused"),
            (429, "queue_full"),
            _QUEUE_AWAY,
        ),
        202: {"headers": {"Location": {"description": "Path of the motion.", "schema": {"type": "string"}}}},
    },
)
async def create_motion(
    request: Request,
    response: Response,
    who: SubmitterDep,
    services: ServicesDep,
    after_answer: BackgroundTasks,
) -> Motion:
    """Send a video as a form. Its keypoints are extracted once; `POST /animations` takes `motion=<id>` in its place."""
    context = JobContext(
        request_id=request.state.request_id, client_id=who.client_id, traceparent=tracing.current_traceparent()
    )
    key = read_key(request.headers.getlist("idempotency-key"))
    job = await receive(request, services, context, key, JobKind.MOTION)
    after_answer.add_task(ring_doorbell, services, job)
    response.headers["Location"] = f"{root_path(request)}/motions/{job.id}"
    return await _shown(job, request, response, services)


@router.get(
    "",
    response_model=MotionList,
    operation_id="list_motions",
    summary="List motions, newest first",
    responses=problems((400, "invalid_cursor"), (422, "invalid_request"), _QUEUE_AWAY),
)
async def list_motions(
    request: Request,
    response: Response,
    who: CallerDep,
    services: ServicesDep,
    limit: Annotated[int | None, Query(ge=1, description="How many at most.", examples=[20])] = None,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> MotionList:
    """A page of the caller's motions. Follow `next_cursor` until it is null."""
    wanted = min(limit or services.api_settings.page_default, services.api_settings.page_max)
    before = read_cursor(cursor, JobKind.MOTION) if cursor else None
    jobs, more_before = await in_thread(page_of, services, who, wanted, before, None, JobKind.MOTION)
    response.headers["Cache-Control"] = "no-store"
    return MotionList(
        data=[Motion.of(job, root_path=root_path(request)) for job in jobs],
        next_cursor=write_cursor(more_before) if more_before else None,
    )


@router.get(
    "/{motion_id}",
    response_model=Motion,
    operation_id="get_motion",
    summary="Read a motion",
    responses=problems(*_UNKNOWN, _QUEUE_AWAY),
)
async def get_motion(request: Request, response: Response, job: MotionDep, services: ServicesDep) -> Motion:
    """Status, progress, and at the end the result or the error. Poll it as often as `Retry-After` says."""
    return await _shown(job, request, response, services)


@router.get(
    _FILE_PATH,
    operation_id="download_motion",
    summary="Download a motion",
    response_class=StreamingResponse,
    responses={
        **problems(
            *_UNKNOWN,
            (409, "motion_not_ready"),
            (409, "motion_failed"),
            (410, "result_gone"),
            (416, "range_not_satisfiable"),
            _QUEUE_AWAY,
            (503, "storage_unavailable"),
        ),
        200: {"description": "The whole file. Its ETag is the SHA-256 of its bytes.", "content": _FILE},
        206: {"description": "The bytes that `Range` asks for (one range).", "content": _FILE},
        304: {"description": "The client has it already (If-None-Match)."},
        307: {"description": "The storage has it (where the installation redirects): ask there, without the key."},
    },
)
@router.head(_FILE_PATH, include_in_schema=False)
async def download_motion(request: Request, job: MotionDep, services: ServicesDep) -> Response:
    """The template as a safetensors file, for `animato animate --motion` and for keeping."""
    result = job.result if job.state is JobState.SUCCEEDED else None
    if result is None:
        ended = job.state.is_terminal
        raise Conflict(
            f"The motion is '{job.state}': it has no file{'' if ended else ' yet'}.",
            code="motion_failed" if ended else "motion_not_ready",
            headers={} if ended else {"Retry-After": str(services.api_settings.poll_after_s)},
        )
    return await download(
        request,
        services,
        key=result.key,
        media_type=result.media_type,
        size_bytes=result.size_bytes,
        sha256=result.sha256,
        file_name=f"{job.id}.safetensors",
    )


@router.delete(
    "/{motion_id}",
    status_code=204,
    operation_id="delete_motion",
    summary="Delete a motion",
    response_description="There is no such motion (any more).",
    responses=problems(_QUEUE_AWAY),
)
async def delete_motion(job: OwnMotionDep, services: ServicesDep) -> None:
    """Removes it in any state. Animations that were submitted with it keep a copy and are not touched."""
    if job is not None:
        await remove(job, services)


async def _shown(job: Job, request: Request, response: Response, services: Services) -> Motion:
    position, eta_s = await place_and_eta(job, services)
    response.headers["Cache-Control"] = "no-store"
    if not job.state.is_terminal:
        response.headers["Retry-After"] = str(services.api_settings.poll_after_s)
    return Motion.of(job, queue_position=position, eta_s=eta_s, root_path=root_path(request))
