"""Look at what an animation would be, before it is one."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.dependencies import ServicesDep, SubmitterDep
from api.errors import MethodNotAllowed
from api.openapi import FORM_PROBLEMS, problems, upload_form
from api.preflighting import preflight
from api.problem_answers import NO_SUCH_METHOD
from worker.preflights import Preflight

router = APIRouter(prefix="/animations", tags=["animations"])

OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


@router.api_route("/preflight", methods=OTHER_METHODS, name=NO_SUCH_METHOD, include_in_schema=False)
def no_such_method(request: Request) -> None:
    """Without this the path would be that of an animation called `preflight`."""
    raise MethodNotAllowed(f"{request.method} does not exist at {request.url.path}.", headers={"Allow": "POST"})


@router.post(
    "/preflight",
    response_model=Preflight,
    operation_id="preflight_animation",
    summary="See what an animation would be",
    response_description="Crops, reference frame, mismatch, cost and one frame. Nothing was queued or kept.",
    openapi_extra=upload_form(),
    responses=problems(
        *FORM_PROBLEMS,
        (409, "motion_not_ready"),
        (409, "motion_failed"),
        (422, "unknown_motion"),
        (422, "motion_other_model"),
        (422, "subject_not_found"),
        (503, "queue_unavailable"),
        (503, "preflight_unavailable"),
    ),
)
async def preflight_animation(
    request: Request, response: Response, who: SubmitterDep, services: ServicesDep
) -> Preflight:
    """Send the form of `POST /animations`; the answer comes in seconds, also while animations run."""
    response.headers["Cache-Control"] = "no-store"
    return await preflight(request, services, who.client_id)
