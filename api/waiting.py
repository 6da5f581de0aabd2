"""`Prefer: wait=N` (RFC 7240): hold the answer back until the animation has ended, for a while."""

from __future__ import annotations

import re
from contextlib import suppress

import anyio
from starlette.datastructures import Headers

from api.watching import WatchEnded, Watcher
from worker.jobs import Job

_WAIT = re.compile(r'\s*wait\s*=\s*("?)(\d{1,9})\1\s*(;.*)?', re.IGNORECASE | re.ASCII)


def wait_preference(headers: Headers, at_most_s: int) -> int | None:
    """The seconds that the request prefers to wait, at most `at_most_s`; None when it does not.

    A preference that cannot be understood is ignored, as RFC 7240 asks for; the first one of a kind counts.
    """
    for preference in ",".join(headers.getlist("prefer")).split(","):
        if match := _WAIT.fullmatch(preference):
            return min(int(match[2]), at_most_s) or None
    return None


async def wait_for_end(watcher: Watcher, job: Job, wait_s: float) -> Job:
    """The record when it is terminal, else as it is after `wait_s`."""
    with watcher.watch(job) as watch, suppress(WatchEnded), anyio.move_on_after(wait_s):
        while not job.state.is_terminal:
            job = await watch.newer_than(job.version)
    return job


async def wait_for_change(watcher: Watcher, job: Job, wait_s: float) -> Job:
    """The record when it is newer than `job`, else as it is after `wait_s`. A terminal record never changes."""
    if job.state.is_terminal:
        return job
    with watcher.watch(job) as watch, suppress(WatchEnded), anyio.move_on_after(wait_s):
        job = await watch.newer_than(job.version)
    return job
