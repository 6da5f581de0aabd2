"""What handlers are given: the clients of this process, who the caller is, the animation that is meant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from api.access import Caller, Door
from api.errors import Gone, NotFound
from api.forecast import Forecaster
from api.metrics import ApiMetrics
from api.settings import ApiSettings
from api.signed_links import LinkSigner
from api.threads import in_thread, in_thread_soon
from api.uploads import UploadDesk
from api.waiting import wait_preference
from api.watching import Watcher
from api.webhook_signing import WebhookSigner
from worker.errors import QueueUnavailable
from worker.job_store import JobStore
from worker.jobs import Job, is_id
from worker.preflights import PreflightLine
from worker.settings import Settings
from worker.storage import Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The clients and settings of this process; they live as long as the application."""

    settings: Settings
    api_settings: ApiSettings
    door: Door
    links: LinkSigner
    webhook_signer: WebhookSigner
    job_store: JobStore
    preflights: PreflightLine
    storage: Storage
    ring: Callable[[str], None]
    """Tells the workers that an animation waits."""
    uploads: UploadDesk
    watcher: Watcher
    forecaster: Forecaster
    metrics: ApiMetrics


async def _services(request: Request) -> Services:
    return request.app.state.services


ServicesDep = Annotated[Services, Depends(_services)]


async def caller(request: Request, services: ServicesDep) -> Caller:
    """Who asks; nobody passes who may not. `app` puts it before all routes that are not open."""
    return await in_thread_soon(_enter, request, services)


def _enter(request: Request, services: Services) -> Caller:
    who = services.door.admit(request)
    # Once in the life of a process: links are made where nothing may wait for Redis.
    with suppress(QueueUnavailable):
        services.links.load()
    return who


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


async def _linked_job(
    animation_id: AnimationId,
    request: Request,
    services: ServicesDep,
    expires: Annotated[str | None, Query(description="Part of a signed link, as `result.url` has it.")] = None,
    signature: Annotated[str | None, Query(description="Part of a signed link: with it no key is needed.")] = None,
) -> Job:
    if expires is None and signature is None:
        who = await caller(request, services)
        return await _job(animation_id, await own_job(animation_id, who, services), who, services)
    view = request.path_params.get("name")
    file = "result" if view is None else f"views/{view}"
    await in_thread_soon(services.links.check, animation_id, file, expires, signature)
    job = await in_thread(services.job_store.get, animation_id)
    if job is None:
        raise NotFound("The animation of this link was deleted.")
    return job


LinkedJobDep = Annotated[Job, Depends(_linked_job)]
"""The animation that is meant, for its owner or for whoever has a signed link to this file of it."""


async def _wait_s(
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
