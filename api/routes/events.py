"""Follow an animation as Server-Sent Events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from api import event_stream
from api.dependencies import JobDep, ServicesDep
from api.openapi import event_stream as event_stream_content
from api.openapi import problems
from api.resource import root_path, shown

router = APIRouter(prefix="/animations", tags=["animations"])


@router.get(
    "/{animation_id}/events",
    operation_id="follow_animation",
    summary="Follow an animation",
    response_class=StreamingResponse,
    responses={
        **problems((404, "animation_not_found"), (410, "animation_expired"), (503, "queue_unavailable")),
        200: {
            "description": "The events `status` and `end` with the animation, `progress` with its progress. The stream "
            "closes after `end`.",
            "headers": {"X-Accel-Buffering": {"description": "`no`, for proxies.", "schema": {"type": "string"}}},
            "content": event_stream_content(),
        },
        204: {"description": "The client has seen the end already (`Last-Event-ID`): it need not connect again."},
    },
)
async def follow_animation(
    request: Request,
    job: JobDep,
    services: ServicesDep,
    last_event_id: Annotated[
        str | None, Header(description="The `id` of the last event that was received: what followed it is sent.")
    ] = None,
) -> Response:
    """Every change of the animation from now on, or since `Last-Event-ID`, until its end."""
    seen = event_stream.last_version_seen(last_event_id)
    if seen > job.version:
        seen = 0  # no id of this animation
    if job.state.is_terminal and seen == job.version:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    return StreamingResponse(
        event_stream.stream(
            services.watcher,
            job,
            after=seen,
            shown=lambda newer: shown(newer, services, root_path(request)),
            heartbeat_s=services.api_settings.events_heartbeat_s,
        ),
        headers=event_stream.HEADERS,
        media_type="text/event-stream",
    )
