"""The API in a process of its own, for tests that stop or kill it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from tests.conftest import REPOSITORY, wait_until
from worker.settings import Settings


class ServerProcess(NamedTuple):
    """A running uvicorn."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def server_process(settings: Settings, **environment: str) -> Iterator[ServerProcess]:
    """The API on a free port; killed at the end if it still runs. Its log is beside the data folder."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--no-access-log"]
    shared = {"PYTHONPATH": str(REPOSITORY), "ANIMATO_DISK_RESERVE_BYTES": "0", **environment}
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        (settings.data_dir.parent / "server.log").open("ab") as log,
    ):
        server_port = listener.getsockname()[1]
        process = subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            env={**settings.as_environment(), **shared},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
    server = ServerProcess(process, server_port)
    try:
        wait_until(lambda: process.poll() is not None or _answers(server.url), "the server answers", 60)
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=10).is_success
    except httpx.TransportError:
        return False
