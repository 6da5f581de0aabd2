"""The housekeeper: queues animations again whose worker fell silent, rings doorbells that were not heard, ends what is
overdue, and lets what is old expire.

Any number of API processes may run one; Redis lets one at a time work. It can stop at any point: every step is one
script that is bounded and may run twice. Objects are `object_sweeper`'s business: a storage that hangs must not keep
lost animations waiting.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from api.rounds import Rounds
from api.settings import ApiSettings
from worker import logs
from worker.job_store import JobStore

log = logs.get_logger(__name__)


class Housekeeper:
    """Sweeps every few seconds from `start` until `stop`."""

    def __init__(self, job_store: JobStore, ring: Callable[[str], None], settings: ApiSettings) -> None:
        self._upkeep = job_store.upkeep
        self._ring = ring
        # Held for a few rounds, so that the others take over soon after this process is gone.
        self._hold_s = 3 * settings.housekeeping_interval_s
        self._name = secrets.token_hex(8)
        self._rounds = Rounds("housekeeper", self.sweep, settings.housekeeping_interval_s)
        self.start, self.stop = self._rounds.start, self._rounds.stop

    def sweep(self) -> None:
        """One round. Raises QueueUnavailable."""
        upkeep = self._upkeep
        if not upkeep.take_duty("housekeeper", self._name, self._hold_s):
            return
        released = upkeep.release_expired()
        for job_id in released.queued:
            log.warning("lease_expired", animation_id=job_id)
        for job_id in released.given_up:
            log.error("animation_given_up", animation_id=job_id)
        for job_id in upkeep.end_overdue():
            log.warning("deadline_exceeded", animation_id=job_id)
        for job_id in upkeep.expire():
            log.info("animation_expired", animation_id=job_id)
        for job_id in upkeep.due_rings():
            if self._rounds.stopping.is_set():
                return
            log.info("doorbell_rung_again", animation_id=job_id)
            self._ring(job_id)
