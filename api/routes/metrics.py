"""Numbers for Prometheus."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Depends, Request, Response

from api.access import key_of
from api.dependencies import ServicesDep, caller
from api.metrics import CONTENT_TYPE
from api.threads import in_thread


async def _may_read(request: Request, services: ServicesDep) -> None:
    """The token for metrics opens this door and no other; without it, whoever may use the API."""
    token = services.api_settings.metrics_token
    if not token or not hmac.compare_digest((key_of(request) or "").encode(), token.encode()):
        await caller(request, services)


router = APIRouter(dependencies=[Depends(_may_read)])


@router.get("/metrics", include_in_schema=False)
async def get_metrics(services: ServicesDep) -> Response:
    """What is counted, in Prometheus's text format."""
    return Response(await in_thread(services.metrics.exposition), media_type=CONTENT_TYPE)
