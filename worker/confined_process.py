"""The parent's side of `confinement`: start a confined child, read what it says within bounds, end all of it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from worker import confinement
from worker.confinement import Limits

_LAUNCHER = str(Path(confinement.__file__).resolve())
_READ_BYTES = 1 << 20
_KEPT_ERROR_BYTES = 4096
_EXIT_TIMEOUT_S = 5.0


class Answer(NamedTuple):
    """What a child said before it ended."""

    output: bytes
    errors: bytes
    status: int
    """Its exit status; negative: the signal that ended it."""


def start(
    program: Sequence[str],
    limits: Limits,
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start `exec PROGRAM ...` or `run MODULE ...` (see `confinement`) under `limits`; its errors come by a pipe.

    No environment, no terminal, nothing open but the three standard files; the process id is also the id of its group
    and session. The kernel kills it when the *thread* that started it ends: start and end it in one thread.
    """
    # `site` costs a fifth of the start-up and only a module of ours needs it.
    isolation = ("-I", "-S") if program[0] == "exec" else ("-I",)
    return subprocess.Popen(
        [sys.executable, *isolation, _LAUNCHER, json.dumps(limits._asdict()), *program],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        bufsize=0,
        env={"LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of its process group and reap it. May be called twice."""
    kill(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of its process group, from any thread. Whoever started it still has to `end` it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def ask(program: Sequence[str], limits: Limits, *, stdin: IO[bytes], max_bytes: int, timeout_s: float) -> Answer:
    """Run a child to its end. Raises TimeoutError, or OverflowError when it says more than `max_bytes`."""
    deadline_s = time.monotonic() + timeout_s
    process = start(program, limits, stdin=stdin, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        said: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        output, errors = said.values()
        with selectors.DefaultSelector() as selector:
            for descriptor in said:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline_s - time.monotonic()))
                if not ready or time.monotonic() > deadline_s:
                    raise TimeoutError
                for key, _ in ready:
                    if not (chunk := os.read(key.fd, _READ_BYTES)):
                        selector.unregister(key.fd)
                    said[key.fd] += chunk
                del errors[:-_KEPT_ERROR_BYTES]
                if len(output) > max_bytes:
                    raise OverflowError
        try:
            status = process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        return Answer(bytes(output), bytes(errors), status)
    finally:
        end(process)
