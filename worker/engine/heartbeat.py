"""Keep the lease of a running job alive from a thread of its own: the network may block the main thread for long."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from worker import logs
from worker.errors import JobCanceled, JobStopped, LeaseLost, QueueUnavailable
from worker.job_store import Claim, JobStore
from worker.settings import Settings

_TICK_S = 1.0
"""How often progress is looked at, and so how late a cancellation is noticed."""

log = logs.get_logger(__name__)


class Heartbeat:
    """While entered, extends the lease and reports progress; tells the job when it has to stop."""

    def __init__(self, store: JobStore, claim: Claim, settings: Settings) -> None:
        self._store = store
        self._job_id = claim.job.id
        self._fence = claim.fence
        self._settings = settings
        self._frames_done = 0
        self._stopped: type[JobStopped] | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()

    def report(self, frames_done: int) -> None:
        """Note the progress. Raises JobCanceled or LeaseLost when the job must not go on."""
        self._frames_done = frames_done
        if self._stopped:
            raise self._stopped

    def _beat(self) -> None:
        settings = self._settings
        tick_s = min(_TICK_S, settings.heartbeat_s)
        told = -1
        renewed_at_s = time.monotonic()
        while not self._leaving.wait(tick_s):
            done = self._frames_done
            silent_s = time.monotonic() - renewed_at_s
            # With nothing new to write, look only whether to stop: that must not wait for the next heartbeat.
            if done == told and silent_s < settings.heartbeat_s and not self._stop_wanted():
                continue
            try:
                answer = self._store.heartbeat(self._job_id, self._fence, done)
            except QueueUnavailable:
                log.warning("heartbeat_failed", silent_s=round(silent_s, 1))
                if silent_s > settings.lease_s:
                    self._stopped = LeaseLost  # Somebody else may own it by now, and we cannot ask.
                    return
                continue
            if answer != "ok":
                self._stopped = JobCanceled if answer == "cancel" else LeaseLost
                return
            told, renewed_at_s = done, time.monotonic()

    def _stop_wanted(self) -> bool:
        try:
            return self._store.stop_wanted(self._job_id, self._fence)
        except QueueUnavailable:
            return False
