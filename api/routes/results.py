"""Download the video of an animation."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.dependencies import LinkedJobDep, Services, ServicesDep
from api.entity_tags import matches
from api.errors import Conflict, Gone, RangeOutside
from api.openapi import problems
from api.ranges import RangeNotSatisfiable, parse_range
from api.threads import in_thread
from worker.jobs import Job, JobResult, JobState

router = APIRouter(prefix="/animations", tags=["animations"])

_RESULT_PATH = "/{animation_id}/result"
_VIDEO = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}
_SUFFIXES = {"video/mp4": ".mp4"}


@router.get(
    _RESULT_PATH,
    operation_id="download_result",
    summary="Download the animated video",
    response_class=StreamingResponse,
    responses={
        **problems(
            (403, "link_invalid"),
            (403, "link_expired"),
            (404, "animation_not_found"),
            (409, "not_finished"),
            (409, "animation_failed"),
            (409, "animation_canceled"),
            (410, "animation_expired"),
            (410, "result_gone"),
            (416, "range_not_satisfiable"),
            (503, "queue_unavailable"),
            (503, "storage_unavailable"),
        ),
        200: {"description": "The whole video. Its ETag is the SHA-256 of its bytes.", "content": _VIDEO},
        206: {"description": "The bytes that `Range` asks for (one range).", "content": _VIDEO},
        304: {"description": "The client has it already (If-None-Match)."},
        307: {"description": "The storage has it (where the installation redirects): ask there, without the key."},
    },
)
@router.head(_RESULT_PATH, include_in_schema=False)
async def download_result(request: Request, job: LinkedJobDep, services: ServicesDep) -> Response:
    """The video as a file, or a part of it. `result.url` of the animation is a link that needs no key for a while."""
    result = _result_of(job, services)
    etag = f'"{result.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        # Kept by the client if it likes, but asked for again each time: it may be deleted.
        "Cache-Control": "private, no-cache",
    }
    if "signature" in request.query_params:
        # Who has the link may show the video in a page of their own.
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    wanted = None
    # A range of another version than the client has would make a broken file: then the whole is sent.
    # A range has a meaning for GET only (RFC 9110, 14.2).
    if request.method == "GET" and request.headers.get("if-range", etag) == etag:
        try:
            wanted = parse_range(request.headers.get("range"), result.size_bytes)
        except RangeNotSatisfiable as error:
            raise RangeOutside(
                f"The result has {result.size_bytes} bytes.",
                headers={"Content-Range": f"bytes */{result.size_bytes}", **headers},
            ) from error
    start, stop = wanted or (0, result.size_bytes)
    headers["Content-Length"] = str(stop - start)
    headers["Content-Disposition"] = f'attachment; filename="{job.id}{_SUFFIXES.get(result.media_type, "")}"'
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{result.size_bytes}"
    status = 206 if wanted else 200
    try:
        if request.method == "HEAD":
            await in_thread(services.storage.head, result.key)
            return Response(status_code=status, headers=headers, media_type=result.media_type)
        if services.api_settings.result_redirect:
            await in_thread(services.storage.head, result.key)
            ttl_s = services.api_settings.link_ttl_s
            if url := await in_thread(services.storage.presigned_url, result.key, ttl_s):
                return Response(status_code=307, headers={"Location": url, "Cache-Control": "no-store"})
        chunks = await in_thread(services.storage.read, result.key, start, stop)
    except FileNotFoundError as error:
        raise Gone("The result is no longer stored.") from error
    return StreamingResponse(chunks, status_code=status, headers=headers, media_type=result.media_type)


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
