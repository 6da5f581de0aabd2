"""The changes of one animation as Server-Sent Events.

Each event stands for one version of the record and has it as its `id`; what lies between two looks of the watcher is in
the later one. So a client that sends back the last id it has seen misses nothing and gets nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.schemas import Animation, ProgressEvent
from api.watching import WatchEnded, Watcher
from worker.jobs import Job

_RECONNECT_MS = 2000
_VERSION = re.compile(r"\d{1,15}", re.ASCII)
HEADERS = {
    "Cache-Control": "no-store, no-transform",
    # nginx would collect the events before it passes them on.
    "X-Accel-Buffering": "no",
}


def last_version_seen(last_event_id: str | None) -> int:
    """The version a client has seen; 0 for a client that is new, or that sends what is no id of ours."""
    text = (last_event_id or "").strip()
    return int(text) if _VERSION.fullmatch(text) else 0


async def stream(
    watcher: Watcher, job: Job, *, after: int, shown: Callable[[Job], Awaitable[Animation]], heartbeat_s: float
) -> AsyncIterator[bytes]:
    """The events of `job` with a version above `after`, until its end.

    A stream that ends without the event `end` was cut: by this process when it stops, or because the animation was
    deleted. The client connects again and learns which.
    """
    # Something at once, so that the client sees its connection stand although nothing has happened yet.
    yield format_sse_event(retry=_RECONNECT_MS)
    before: Job | None = None
    with watcher.watch(job) as watch:
        while before is None or not before.state.is_terminal:
            newer = None
            with anyio.move_on_after(heartbeat_s):
                try:
                    newer = await watch.newer_than(after)
                except WatchEnded:
                    return
            if newer is None:
                yield KEEPALIVE_COMMENT
                continue
            yield _event(newer, before, await shown(newer))
            before, after = newer, newer.version


def _event(job: Job, before: Job | None, animation: Animation) -> bytes:
    """The event for `job`; `before` is what this connection was told last, if anything."""
    name = "status"
    data = animation.model_dump_json()
    if job.state.is_terminal:
        name = "end"
    elif before is not None and _standing(before) == _standing(job):
        name = "progress"
        data = ProgressEvent(**animation.progress.model_dump(), eta_s=animation.eta_s).model_dump_json()
    return format_sse_event(event=name, data_str=data, id=str(job.version))


def _standing(job: Job) -> tuple[object, ...]:
    """What of a record is more than progress."""
    return job.state, job.attempt, job.cancel_requested
