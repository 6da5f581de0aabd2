"""What handlers are given: the clients of this process, who the caller is, the animation that is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ParamSpec, TypeVar

import anyio.to_thread
from fastapi import Depends, Header, Path, Request

from api.access import Caller, Door
from api.errors import Gone, NotFound
from api.forecast import Forecaster
from api.metrics import ApiMetrics
from api.settings import ApiSettings
from api.uploads import UploadDesk
from api.waiting import wait_preference
from api.watching import Watcher
from worker.job_store import JobStore
from worker.jobs import Job, is_id
from worker.settings import Settings
from worker.storage import Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The clients and settings of this process; they live as long as the application."""

    settings: Settings
    api_settings: ApiSettings
    door: Door
    job_store: JobStore
    storage: Storage
    ring: Callable[[str], None]
    """Tells the workers that an animation waits."""
    uploads: UploadDesk
    watcher: Watcher
    forecaster: Forecaster
    metrics: ApiMetrics


P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a call that waits for Redis, the storage or the disk, without stopping the other requests."""
    return await anyio.to_thread.run_sync(partial(call, *args, **kwargs))


def _services(request: Request) -> Services:
    return request.app.state.services


ServicesDep = Annotated[Services, Depends(_services)]


async def caller(request: Request, services: ServicesDep) -> Caller:
    """Who asks; nobody passes who may not. `app` puts it before all routes that are not open."""
    return await in_thread(services.door.admit, request)


CallerDep = Annotated[Caller, Depends(caller)]


async def _submitter(request: Request, services: ServicesDep, who: CallerDep) -> Caller:
    await in_thread(services.door.admit_submission, request, who)
    return who


SubmitterDep = Annotated[Caller, Depends(_submitter)]
"""A caller who may submit an animation now."""


AnimationId = Annotated[
    str, Path(description="The `id` of the animation.", examples=["anm_01kar5x8m2q7v9w3e6z0h4t1yc"])
]


async def own_job(animation_id: AnimationId, who: CallerDep, services: ServicesDep) -> Job | None:
    """The animation, when there is one with this id and it is the caller's."""
    # What does not look like an id reaches neither Redis nor the storage.
    job = await in_thread(services.job_store.get, animation_id) if is_id(animation_id) else None
    # Another client's animation is answered as one that does not exist: an id shall tell nothing to those who find it.
    return job if job and who.owns(job) else None


OwnJobDep = Annotated[Job | None, Depends(own_job)]


async def _job(animation_id: AnimationId, job: OwnJobDep, who: CallerDep, services: ServicesDep) -> Job:
    if job is None:
        gone = await in_thread(services.job_store.tombstone, animation_id) if is_id(animation_id) else None
        if gone and gone.client_id == who.client_id:
            raise Gone("The time for which this animation was kept is over.", code="animation_expired")
        raise NotFound("There is no animation with this id.", hint="GET /animations lists those that exist.")
    return job


JobDep = Annotated[Job, Depends(_job)]
"""The caller's animation; else 404, or 410 when its time is over."""


def _wait_s(
    request: Request,
    services: ServicesDep,
    prefer: Annotated[  # noqa: ARG001 - for the OpenAPI document; the header may come several times
        str | None,
        Header(
            description="`wait=N`: hold the answer back for up to N seconds, until the animation has ended.",
            examples=["wait=10"],
        ),
    ] = None,
) -> int | None:
    return wait_preference(request.headers, services.api_settings.wait_max_s)


WaitDep = Annotated[int | None, Depends(_wait_s)]
"""The seconds that `Prefer: wait` asks for, within the limit of the installation; None without it."""
