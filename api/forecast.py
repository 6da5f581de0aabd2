"""When will an animation end? From the work before it, the measured speed of each model, and the workers there are.

Every running animation keeps one slot of the workers busy for its remaining frames at the measured speed of its model;
every queued one takes the slot that is free first, in the order of the queue. Where the speed of a model is not known
yet, or no worker tells of itself, the estimate is not known either.
"""

from __future__ import annotations

import heapq
import math
import time
from dataclasses import dataclass

import anyio
import anyio.to_thread

from worker import logs
from worker.backlog import Backlog
from worker.errors import QueueUnavailable
from worker.job_store import JobStore
from worker.jobs import Job, JobState, speed_name

_FRESH_S = 1.0
"""How long one look at the whole queue serves all requests of this process."""
_LOOKED_AT_MOST = 2000
log = logs.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Seconds from the moment of the look; infinite where they are not known."""

    ends_s: dict[str, float]
    """Of every queued animation."""
    slot_free_s: float
    """When the next queued animation can begin: then the queue has a place more."""
    tail_s: float
    """When one can begin that joins the queue now."""
    frames_per_s: dict[str, float]

    def eta_s(self, job: Job) -> int | None:
        """Until the end of `job`, rounded up; None when it is not known or over."""
        left_s = math.inf
        own_s = _duration_s(
            job.frames_total - job.frames_done, speed_name(job.id, job.options.model or ""), self.frames_per_s
        )
        if job.state is JobState.PROCESSING:
            left_s = own_s
        elif job.state is JobState.QUEUED:
            # One that is not in the list joined the queue after the look.
            left_s = self.ends_s.get(job.id, self.tail_s + own_s)
        return math.ceil(left_s) if left_s < math.inf else None


def forecast(backlog: Backlog, slots: int) -> Forecast:
    """Let the queue run in thought, on `slots` workers."""
    speeds = backlog.frames_per_s
    busy_s = sorted(_duration_s(work.frames_left, work.model, speeds) for work in backlog.running)
    # More may be running than there are workers: leases of workers that were killed just now.
    free_s = [0.0] * (slots - len(busy_s)) + busy_s[:slots]
    heapq.heapify(free_s)
    slot_free_s = free_s[0] if free_s else math.inf
    ends_s: dict[str, float] = {}
    for work in backlog.queued:
        start_s = heapq.heappop(free_s) if free_s else math.inf
        ends_s[work.job_id] = start_s + _duration_s(work.frames_left, work.model, speeds)
        heapq.heappush(free_s, ends_s[work.job_id])
    return Forecast(
        ends_s=ends_s, slot_free_s=slot_free_s, tail_s=free_s[0] if slots and free_s else math.inf, frames_per_s=speeds
    )


def _duration_s(frames: int, model: str, frames_per_s: dict[str, float]) -> float:
    speed = frames_per_s.get(model, 0.0)
    return frames / speed if speed > 0 else math.inf


class Forecaster:
    """The newest forecast of this process; many requests share one look at the queue."""

    def __init__(self, job_store: JobStore) -> None:
        self._job_store = job_store
        self._lock = anyio.Lock()
        self._forecast: Forecast | None = None
        self._fresh_until_s = 0.0

    async def newest(self) -> Forecast | None:
        """At most a second old; None when the queue does not answer."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until_s:
                try:
                    self._forecast = await anyio.to_thread.run_sync(self._look)
                except QueueUnavailable:
                    self._forecast = None
                self._fresh_until_s = time.monotonic() + _FRESH_S
            return self._forecast

    def _look(self) -> Forecast:
        slots = sum(self._job_store.workers_alive().values())
        return forecast(self._job_store.backlog(_LOOKED_AT_MOST), slots)
