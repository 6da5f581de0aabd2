"""One process of the installation under test, in a process group of its own, to be killed, frozen and started again."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.conftest import REPOSITORY, children_of

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Process:
    """A program with its log; `start` may be called again after its end. Start it from the main thread only: the
    kernel ends it together with the thread that started it."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._running: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self._running = subprocess.Popen(
                self._arguments,
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    def is_alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def children(self) -> list[int]:
        """The processes that this one has started, such as the children of a worker's pool."""
        return children_of(self.pid)

    def has_said(self, text: str) -> bool:
        """Whether `text` is in its log since its last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return text.encode() in log.read()

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def terminate(self) -> None:
        """Ask the process alone to end, as an operator does."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL for the whole group, at once."""
        if self._running is not None:
            self.signal_group(signal.SIGKILL)
            self._running.wait()

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended by itself within the time."""
        assert self._running is not None
        try:
            self._running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_lines(self, count: int = 15) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-count:])


def is_stopped(pid: int) -> bool:
    """Whether the process is frozen by SIGSTOP."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False
