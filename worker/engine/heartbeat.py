"""Keep the lease of a running job alive from a thread of its own: the network may block the main thread for long."""

from __future__ import annotations

import contextvars
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from worker import logs
from worker.errors import JobCanceled, JobStopped, LeaseLost, QueueUnavailable
from worker.job_store import Claim, JobStore
from worker.settings import Settings

_TICK_S = 1.0
"""How often progress is looked at, and so how late a cancellation is noticed."""
_AGAIN_S = 1.0
_INTERRUPT = signal.SIGUSR2  # Celery uses SIGUSR1 for its time limit

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
        self._interruptible = False
        self._raised: JobStopped | None = None
        self._leaving = threading.Event()
        # With the ids of the job, for what it logs.
        beat = contextvars.copy_context().run
        self._thread = threading.Thread(target=beat, args=[self._beat], name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()

    @property
    def stopped(self) -> bool:
        """Whether the job must not go on."""
        return self._stopped is not None

    def report(self, frames_done: int) -> None:
        """Note the progress. Raises JobCanceled or LeaseLost when the job must not go on."""
        self._frames_done = frames_done
        if self._stopped:
            raise self._stopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within the block a job that must not go on is left from wherever it waits: `JobStopped` may come any time.

        A signal to the main thread does that: it ends every wait for a child process, a lock or a thread. It comes
        again until it has an effect: an exception is lost in a `__del__` or in the callback of a weak reference. In
        another thread there are no signals, and only `report` raises.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Never set back: a signal that comes late must find a handler, which then does nothing.
        signal.signal(_INTERRUPT, self._on_interrupt)
        self._interruptible = True
        try:
            self.report(self._frames_done)
            yield
        finally:
            self._interruptible = False

    def _on_interrupt(self, _number: int, _frame: object) -> None:
        # What cleans up after it is not to be interrupted.
        if self._interruptible and self._stopped and not _is_handled(self._raised):
            self._raised = self._stopped()
            raise self._raised

    def _stop(self, reason: type[JobStopped]) -> None:
        self._stopped = reason
        while self._interruptible:
            signal.pthread_kill(threading.main_thread().ident or 0, _INTERRUPT)
            if self._leaving.wait(_AGAIN_S):
                break

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
                    self._stop(LeaseLost)  # Somebody else may own it by now, and we cannot ask.
                    return
                continue
            if answer != "ok":
                self._stop(JobCanceled if answer == "cancel" else LeaseLost)
                return
            told, renewed_at_s = done, time.monotonic()

    def _stop_wanted(self) -> bool:
        try:
            return self._store.stop_wanted(self._job_id, self._fence)
        except QueueUnavailable:
            return False


def _is_handled(error: BaseException | None) -> bool:
    """Whether this thread is in an `except`, a `finally` or a `with` that this error has come to, or one it led to."""
    handled = sys.exception()
    while handled is not None and handled is not error:
        handled = handled.__context__
    return handled is not None
