"""A page of records, newest first."""

from __future__ import annotations

from api.access import Caller
from api.dependencies import Services
from worker.jobs import Job, JobKind, JobState

_SCAN_MAX_RECORDS = 500
"""Records that one request with a `status` looks at; after that it answers with what it has and a cursor."""


def page_of(
    services: Services,
    who: Caller,
    wanted: int,
    before: str | None,
    status: JobState | None,
    kind: JobKind = JobKind.ANIMATION,
) -> tuple[list[Job], str | None]:
    """Up to `wanted` records of `who` older than `before`, and the id after which the next page begins."""
    found: list[Job] = []
    scanned = 0
    while scanned < _SCAN_MAX_RECORDS:
        jobs = services.job_store.page(
            services.api_settings.page_max, before=before, client_id=who.client_id, kind=kind
        )
        for job in jobs:
            if len(found) == wanted:
                return found, before
            before = job.id
            if who.owns(job) and status in (None, job.state):
                found.append(job)
        scanned += len(jobs)
        if len(jobs) < services.api_settings.page_max:
            return found, None
    return found, before
