"""A thread that does the same round again and again, and outlives what goes wrong in one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker import logs
from worker.errors import QueueUnavailable, StorageUnavailable

log = logs.get_logger(__name__)


class Rounds:
    """Calls `do_round` every `interval_s` seconds from `start` until `stop`."""

    def __init__(self, name: str, do_round: Callable[[], None], interval_s: float) -> None:
        self._name = name
        self._do_round = do_round
        self._interval_s = interval_s
        self._away: str | None = None
        self.stopping = threading.Event()
        """Set when the round that is going on should end early."""
        # A daemon: a Redis or a storage that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin with the first round."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the step that is being done."""
        self.stopping.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._do_round()
                self._away = None
            except (QueueUnavailable, StorageUnavailable) as error:
                # Once for each absence, not once for each round.
                if self._away != error.code:
                    log.warning("round_waits", duty=self._name, code=error.code)
                self._away = error.code
            except Exception:
                # A defect in one round must not end all later ones: nobody else would bring lost animations back.
                log.exception("round_failed", duty=self._name)
            self.stopping.wait(self._interval_s)
