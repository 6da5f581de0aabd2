"""Download what an animation has made: its result and its views."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from api.dependencies import LinkedJobDep, Services, ServicesDep
from api.downloads import download
from api.errors import Conflict, NotFound
from api.openapi import problems
from worker.jobs import Job, JobResult, JobState, JobView
from worker.result_formats import RESULT_FORMATS, SUFFIXES, VIEW_FORMAT, VIEW_NAMES

router = APIRouter(prefix="/animations", tags=["animations"])

_RESULT_PATH = "/{animation_id}/result"
_VIEW_PATH = "/{animation_id}/views/{name}"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_RESULT_CONTENT = {known.media_type: _BINARY for known in RESULT_FORMATS.values()}
_VIEW_CONTENT = {RESULT_FORMATS[VIEW_FORMAT].media_type: _BINARY}


def _responses(content: dict[str, Any], *more: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    return {
        **problems(
            (403, "link_invalid"),
            (403, "link_expired"),
            (404, "animation_not_found"),
            *more,
            (409, "not_finished"),
            (409, "animation_failed"),
            (409, "animation_canceled"),
            (410, "animation_expired"),
            (410, "result_gone"),
            (416, "range_not_satisfiable"),
            (503, "queue_unavailable"),
            (503, "storage_unavailable"),
        ),
        200: {"description": "The whole file. Its ETag is the SHA-256 of its bytes.", "content": content},
        206: {"description": "The bytes that `Range` asks for (one range).", "content": content},
        304: {"description": "The client has it already (If-None-Match)."},
        307: {"description": "The storage has it (where the installation redirects): ask there, without the key."},
    }


@router.get(
    _RESULT_PATH,
    operation_id="download_result",
    summary="Download the animation",
    response_class=StreamingResponse,
    responses=_responses(_RESULT_CONTENT),
)
@router.head(_RESULT_PATH, include_in_schema=False)
async def download_result(request: Request, job: LinkedJobDep, services: ServicesDep) -> Response:
    """The animation as a file, or a part of it. `result.url` is a link that needs no key for a while."""
    result = _result_of(job, services)
    return await _download(request, services, result, f"{job.id}{SUFFIXES.get(result.media_type, '')}")


@router.get(
    _VIEW_PATH,
    operation_id="download_view",
    summary="Download a view of the animation",
    response_class=StreamingResponse,
    responses=_responses(_VIEW_CONTENT, (404, "view_not_found")),
)
@router.head(_VIEW_PATH, include_in_schema=False)
async def download_view(
    request: Request,
    job: LinkedJobDep,
    services: ServicesDep,
    name: Annotated[
        str,
        # Only said here: every other name is one of a view that there is not.
        Path(description="The name of the view.", json_schema_extra={"enum": list(VIEW_NAMES)}),
    ],
) -> Response:
    """An extra video that the option `views` asked for. `views.{name}.url` is a link that needs no key for a while."""
    views = _result_of(job, services).views
    found = next((view for known, view in views.items() if known == name), None)
    if found is None:
        raise NotFound(
            "The animation has no such view.",
            code="view_not_found",
            hint=f"It has: {', '.join(views)}." if views else "It was submitted without the option views.",
        )
    return await _download(request, services, found, f"{job.id}-{name}{SUFFIXES.get(found.media_type, '')}")


async def _download(request: Request, services: Services, stored: JobResult | JobView, name: str) -> Response:
    return await download(
        request,
        services,
        key=stored.key,
        media_type=stored.media_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        file_name=name,
    )


def _result_of(job: Job, services: Services) -> JobResult:
    """The result, or a Conflict that says why there is none."""
    if job.result and job.state is JobState.SUCCEEDED:
        return job.result
    if job.state is JobState.FAILED:
        reason = f" ({job.error.code}: {job.error.detail})" if job.error else ""
        raise Conflict(f"The animation failed{reason}, so it has no result.", code="animation_failed")
    if job.state is JobState.CANCELED:
        raise Conflict("The animation was canceled, so it has no result.", code="animation_canceled")
    raise Conflict(
        f"The animation is '{job.state}': it has no result yet.",
        code="not_finished",
        hint="Poll the animation until its status is 'succeeded'.",
        headers={"Retry-After": str(services.api_settings.poll_after_s)},
    )
