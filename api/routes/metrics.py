"""Numbers for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.dependencies import ServicesDep, in_thread
from api.metrics import CONTENT_TYPE

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def get_metrics(services: ServicesDep) -> Response:
    """What is counted, in Prometheus's text format."""
    return Response(await in_thread(services.metrics.exposition), media_type=CONTENT_TYPE)
