"""A worker tells that it lives: from its parent process, whose timer beats also while a child works."""

from __future__ import annotations

import time
from functools import cached_property

from worker import logs
from worker.engine.owner import process_name
from worker.errors import QueueUnavailable
from worker.job_store import JobStore
from worker.settings import Settings

_EVERY_S = 10.0
_PATIENCE_S = 1.0
"""The parent has other things to do than to wait for a Redis that does not answer."""

log = logs.get_logger(__name__)


class Presence:
    """Keeps this worker in the list of those that live."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._next_s = 0.0
        self._has_ended = False

    @cached_property
    def _store(self) -> JobStore:
        return JobStore.connect(self._settings.model_copy(update={"redis_timeout_s": _PATIENCE_S}))

    def beat(self) -> None:
        """Called every few seconds; tells of us as often as is needed."""
        if self._has_ended or time.monotonic() < self._next_s:  # the timer goes on until the process has gone
            return
        self._next_s = time.monotonic() + _EVERY_S
        try:
            self._store.announce_worker(process_name(), self._settings.worker_concurrency)
        except QueueUnavailable:
            log.warning("presence_not_told")

    def end(self) -> None:
        """Called when the worker ends in good order; the entry of one that is killed dies with time."""
        self._has_ended = True
        try:
            self._store.dismiss_worker(process_name())
        except QueueUnavailable:
            log.warning("presence_not_told")
