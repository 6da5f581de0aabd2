"""One long-lived child process: its log, its restarts, its end. Used by `embedded`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from worker.confinement import stand_back_as_a_session

_PR_SET_PDEATHSIG = 1
_STABLE_AFTER_S = 60.0
_BACKOFF_MAX_S = 30.0
_LOG_KEEP_BYTES = 10 * 1024 * 1024


class Child:
    """One supervised process: started with its log in a file, restarted with growing pauses when it dies."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: dict[str, str],
        log_path: Path,
        *,
        dies_with_us: signal.Signals,
        pass_fds: Sequence[int] = (),
        niceness: int = 0,
    ) -> None:
        """`niceness`: by how much it and its children stand back behind others that want the processor, as `nice`."""
        self.name = name
        self.log_path = log_path
        self._arguments = list(arguments)
        self._environment = environment
        self._dies_with_us = dies_with_us
        self._pass_fds = tuple(pass_fds)
        self._niceness = niceness
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at_s = 0.0
        self._pause_s = 0.5
        self._start_again_at_s = 0.0

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_KEEP_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self._pass_fds,
                preexec_fn=_settle(self._dies_with_us, self._niceness),
            )
        self._started_at_s = time.monotonic()

    def supervise(self, say: Callable[[str], None]) -> None:
        """Look after the process once: start it again when it has died and its pause is over."""
        if self._process is None:
            if time.monotonic() >= self._start_again_at_s:
                self.start()
        elif (code := self._process.poll()) is not None:
            self._kill_group()  # children of a lost worker would go on working for nobody
            lived_s = time.monotonic() - self._started_at_s
            self._pause_s = 0.5 if lived_s > _STABLE_AFTER_S else min(_BACKOFF_MAX_S, self._pause_s * 2)
            self._process = None
            self._start_again_at_s = time.monotonic() + self._pause_s
            say(f"The {self.name} ended ({_exit_reason(code)}); starting it again. Its log: {self.log_path}")

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, when it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _kill_group(self) -> None:
        """End what is left of the process and of those it started: its session is also its process group."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self, *, patience_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Ask the process to end; kill it and its children after `patience_s`. Returns whether it ended by itself."""
        self.signal(signal.SIGTERM)
        deadline_s = time.monotonic() + patience_s
        while self.is_alive() and time.monotonic() < deadline_s and not give_up():
            time.sleep(0.05)
        ended = not self.is_alive()
        self._kill_group()
        return ended


def _settle(number: signal.Signals, niceness: int) -> Callable[[], None]:
    """For the new process: have the kernel send it `number` when the supervisor is gone, however that came; be nice."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux only

    def settle() -> None:
        if prctl:
            prctl(_PR_SET_PDEATHSIG, number)
        if niceness:
            os.nice(niceness)
            stand_back_as_a_session()

    return settle


def _exit_reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
