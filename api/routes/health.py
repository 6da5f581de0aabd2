"""Is the process there, and can it do its work?"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
from fastapi import APIRouter

from api.dependencies import ServicesDep
from api.errors import Unavailable
from api.openapi import problems
from api.schemas import FieldProblem, Health, Readiness
from worker import logs
from worker.errors import AnimationError

router = APIRouter(tags=["service"])
log = logs.get_logger(__name__)


@router.get(
    "/healthz", response_model=Health, operation_id="get_health", summary="Is the process there?", responses=problems()
)
async def get_health() -> Health:
    """Looks at nothing else: a queue that is away is no reason to restart this process."""
    return Health()


@router.get(
    "/readyz",
    response_model=Readiness,
    operation_id="get_readiness",
    summary="Can animations be accepted?",
    responses=problems((503, "not_ready")),
)
async def get_readiness(services: ServicesDep) -> Readiness:
    """Asks the queue and the storage, each within a time limit. Workers may be absent: then animations wait."""
    settings = services.api_settings
    troubles = {
        "queue": await _trouble(services.job_store.ping, settings.ready_queue_timeout_s),
        "storage": await _trouble(services.storage.check, settings.ready_storage_timeout_s),
    }
    away = {name: trouble for name, trouble in troubles.items() if trouble is not None}
    if away:
        log.warning("not_ready", **away)
        raise Unavailable(
            f"Not answering: {', '.join(away)}.",
            errors=[FieldProblem(field=name, detail="does not answer") for name in away],
        )
    return Readiness(checks=dict.fromkeys(troubles, "ok"))


async def _trouble(check: Callable[[], None], timeout_s: float) -> str | None:
    """What is wrong, for the log: it may name hosts and buckets. None when all is well."""
    try:
        with anyio.fail_after(timeout_s):
            # The thread cannot be stopped; it ends by the client's own time limit while we answer in time.
            await anyio.to_thread.run_sync(check, abandon_on_cancel=True)
    except AnimationError as error:
        return str(error.__cause__ or error).partition("\n")[0]
    except TimeoutError:
        return f"no answer in {timeout_s} s"
    return None
