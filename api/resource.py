"""The public resource of a record, with the headers that go with it."""

from __future__ import annotations

from contextlib import suppress

from fastapi import Request, Response

from api.dependencies import Services, in_thread
from api.schemas import Animation
from worker.errors import QueueUnavailable
from worker.jobs import Job, JobState


async def resource(job: Job, request: Request, response: Response, services: Services) -> Animation:
    """The animation as clients see it; sets `ETag`, `Cache-Control` and, while it goes on, `Retry-After`."""
    position = None
    if job.state is JobState.QUEUED:
        # An accepted animation is never answered with an error because its place could not be asked for.
        with suppress(QueueUnavailable):
            position = await in_thread(services.job_store.queue_position, job.id)
    # The place in the queue changes without the record.
    response.headers["ETag"] = f'"{job.version}"' if position is None else f'"{job.version}-{position}"'
    response.headers["Cache-Control"] = "no-store"
    if not job.state.is_terminal:
        response.headers["Retry-After"] = str(services.api_settings.poll_after_s)
    elif "Retry-After" in response.headers:
        del response.headers["Retry-After"]  # it ended while the request waited
    return Animation.of(job, queue_position=position, root_path=root_path(request))


def root_path(request: Request) -> str:
    """The path in front of ours, when a proxy has one."""
    return request.scope.get("root_path", "")
