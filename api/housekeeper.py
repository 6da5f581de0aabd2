"""The sweeper: queues animations again whose worker fell silent, and rings doorbells that were not heard.

Any number of API processes may run one; Redis lets one at a time work. It can stop at any point: every step is one
script that may run twice.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from api.settings import ApiSettings
from worker import logs
from worker.errors import QueueUnavailable
from worker.job_store import JobStore

log = logs.get_logger(__name__)


class Housekeeper:
    """A thread that sweeps every few seconds until `stop`."""

    def __init__(self, job_store: JobStore, ring: Callable[[str], None], settings: ApiSettings) -> None:
        self._job_store = job_store
        self._ring = ring
        self._settings = settings
        self._name = f"housekeeper-{secrets.token_hex(8)}"
        self._stopping = threading.Event()
        self._was_away = False
        # A daemon: a Redis that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the step that is being done."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.sweep()
                self._was_away = False
            except QueueUnavailable:
                # Once for each absence, not once for each round.
                if not self._was_away:
                    log.warning("housekeeper_waits_for_queue")
                self._was_away = True
            except Exception:
                # A defect in one round must not end all later ones: nobody else would bring lost animations back.
                log.exception("housekeeping_failed")
            self._stopping.wait(self._settings.housekeeping_interval_s)

    def sweep(self) -> None:
        """One round. Raises QueueUnavailable."""
        upkeep = self._job_store.upkeep
        # Held for a few rounds, so that the others take over soon after this process is gone.
        if not upkeep.take_duty("housekeeper", self._name, 3 * self._settings.housekeeping_interval_s):
            return
        released = upkeep.release_expired()
        for job_id in released.queued:
            log.warning("lease_expired", animation_id=job_id)
        for job_id in released.given_up:
            log.error("animation_given_up", animation_id=job_id)
        for job_id in upkeep.end_overdue():
            log.warning("deadline_exceeded", animation_id=job_id)
        for job_id in upkeep.due_rings():
            if self._stopping.is_set():
                return
            log.info("doorbell_rung_again", animation_id=job_id)
            self._ring(job_id)
