"""One look at Redis for everybody who waits: each process asks for the versions of all watched records at once.

A request that waits (`Prefer: wait`, the event stream) holds neither a thread nor a connection to Redis: it sleeps
until the watcher has seen its record change. All of this lives on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from worker import logs
from worker.errors import QueueUnavailable
from worker.job_store import JobStore
from worker.jobs import Job

log = logs.get_logger(__name__)


class WatchEnded(Exception):
    """Nothing more will be seen: the record was removed, or this process is about to end."""


@dataclass(kw_only=True, eq=False, slots=True)
class _Watched:
    """A record that somebody watches, as it was seen last; None when it was removed."""

    job: Job | None
    watchers: int = 0
    changed: anyio.Event = field(default_factory=anyio.Event)

    def put(self, job: Job | None) -> None:
        """Note what was seen and wake everybody. An older record than the one that is known changes nothing."""
        if job is not None and self.job is not None and job.version <= self.job.version:
            return
        self.job = job
        self.changed.set()
        self.changed = anyio.Event()


class Watch:
    """The view of one record that `Watcher.watch` gives."""

    def __init__(self, watcher: Watcher, watched: _Watched) -> None:
        self._watcher = watcher
        self._watched = watched

    async def newer_than(self, version: int) -> Job:
        """The record as soon as its version is above `version`. Raises WatchEnded."""
        while True:
            job = self._watched.job
            if job is None:
                raise WatchEnded
            if job.version > version:
                return job
            if self._watcher.is_closed:
                raise WatchEnded
            await self._watched.changed.wait()


class Watcher:
    """Looks at all watched records every `interval_s`, as long as there are any."""

    def __init__(self, job_store: JobStore, interval_s: float) -> None:
        self._job_store = job_store
        self._interval_s = interval_s
        self._watched: dict[str, _Watched] = {}
        self._wanted = anyio.Event()
        self._closed = anyio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called: who waits shall answer with what is known."""
        return self._closed.is_set()

    @contextmanager
    def watch(self, job: Job) -> Iterator[Watch]:
        """Watch the record that was read as `job`."""
        watched = self._watched.setdefault(job.id, _Watched(job=job))
        watched.put(job)
        watched.watchers += 1
        self._wanted.set()
        try:
            yield Watch(self, watched)
        finally:
            watched.watchers -= 1
            if not watched.watchers and self._watched.get(job.id) is watched:
                del self._watched[job.id]

    async def run(self) -> None:
        """Look until `close`."""
        was_away = False
        while not self.is_closed:
            if not self._watched:
                self._wanted = anyio.Event()
                await self._wanted.wait()
                continue
            try:
                await self._look()
                was_away = False
            except QueueUnavailable:
                # Who waits goes on waiting: an event stream outlives a Redis that is restarted.
                if not was_away:
                    log.warning("watcher_waits_for_queue")
                was_away = True
            with anyio.move_on_after(self._interval_s):
                await self._closed.wait()

    async def _look(self) -> None:
        ids = list(self._watched)
        versions = await anyio.to_thread.run_sync(self._job_store.versions, ids)
        known = {job_id: watched.job for job_id, watched in self._watched.items()}
        changed = [
            job_id
            for job_id, version in zip(ids, versions, strict=True)
            if (job := known.get(job_id)) is not None and job.version != version
        ]
        if not changed:
            return
        jobs = await anyio.to_thread.run_sync(self._job_store.get_many, changed)
        for job_id, job in zip(changed, jobs, strict=True):
            if watched := self._watched.get(job_id):
                watched.put(job)

    def close(self) -> None:
        """Wake everybody who waits and end `run`. Called on the event loop."""
        self._closed.set()
        self._wanted.set()
        for watched in self._watched.values():
            watched.changed.set()
