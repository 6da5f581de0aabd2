"""The public resource of a record, with the headers that go with it."""

from __future__ import annotations

from contextlib import suppress

from fastapi import Request, Response

from api.dependencies import Services
from api.schemas import Animation
from api.threads import in_thread
from worker.errors import QueueUnavailable
from worker.jobs import Job, JobResult, JobState
from worker.result_formats import ViewName


async def shown(job: Job, services: Services, root_path: str) -> Animation:
    """The animation as clients see it, with its place in the queue and when it is likely to end."""
    position, eta_s = await place_and_eta(job, services)
    return public(job, services, root_path, queue_position=position, eta_s=eta_s)


async def place_and_eta(job: Job, services: Services) -> tuple[int | None, int | None]:
    """How many queued jobs are before this one, and in how many seconds it is likely to end; where that is known."""
    position, eta_s = None, None
    # An accepted animation is never answered with an error because its place could not be asked for.
    with suppress(QueueUnavailable):
        if job.state is JobState.QUEUED:
            position = await in_thread(services.job_store.queue_position, job.id)
    if not job.state.is_terminal and (forecast := await services.forecaster.newest()):
        eta_s = forecast.eta_s(job)
    return position, eta_s


def public(
    job: Job, services: Services, root_path: str, *, queue_position: int | None = None, eta_s: int | None = None
) -> Animation:
    """The same without looking anything up: with its link, but without place and end unless they are given."""
    done = job.result if job.state is JobState.SUCCEEDED else None
    return Animation.of(
        job,
        queue_position=queue_position,
        eta_s=eta_s,
        root_path=root_path,
        result_link=services.links.link(job.id, "result", root_path) if done else None,
        view_links=_view_links(done, job.id, services, root_path) if done else {},
    )


def _view_links(result: JobResult, job_id: str, services: Services, root_path: str) -> dict[ViewName, str]:
    links: dict[ViewName, str] = {}
    for name in result.views:
        if link := services.links.link(job_id, f"views/{name}", root_path):
            links[name] = link.url
    return links


async def resource(job: Job, request: Request, response: Response, services: Services) -> Animation:
    """The animation for an answer; sets `ETag`, `Cache-Control` and, while it goes on, `Retry-After`."""
    animation = await shown(job, services, root_path(request))
    # Weak: the estimate is not in it, as it changes all the time. The place in the queue and the link to the result
    # change without the record.
    changing = animation.queue_position
    if animation.result and animation.result.url_expires_at:
        changing = round(animation.result.url_expires_at.timestamp())
    response.headers["ETag"] = f'W/"{job.version}"' if changing is None else f'W/"{job.version}-{changing}"'
    response.headers["Cache-Control"] = "no-store"
    if not job.state.is_terminal:
        response.headers["Retry-After"] = str(services.api_settings.poll_after_s)
    elif "Retry-After" in response.headers:
        del response.headers["Retry-After"]  # it ended while the request waited
    return animation


def root_path(request: Request) -> str:
    """The path in front of ours, when a proxy has one."""
    return request.scope.get("root_path", "")
