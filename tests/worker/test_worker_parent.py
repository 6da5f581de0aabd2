"""A real worker: its parent is well, says so while a child hangs and the broker is away, and shows its numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import redis

from tests.conftest import REPOSITORY, children_of, free_port, wait_until
from worker.embedded_redis import find_redis_server, redis_arguments
from worker.pulse import Pulse

_TIMERS_ARE_DUE_S = 11.0
"""Longer than the longest interval of them."""


class Connected:
    """A consumer that has a connection, or has none."""

    def __init__(self, connection: object | None) -> None:
        self.connection = connection


def test_a_parent_that_hangs_is_not_well(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "alive")
    beaten_at_s = pulse._beaten_at_s
    pulse._consumer = Connected(object())
    assert pulse.is_well(beaten_at_s + 9)
    assert not pulse.is_well(beaten_at_s + 11), "its timer does not beat although it is connected"
    pulse._consumer = Connected(None)
    assert pulse.is_well(beaten_at_s + 1000), "the broker is away"


@contextmanager
def running_redis(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    socket = folder / "redis.sock"
    server = subprocess.Popen(redis_arguments(find_redis_server(), folder, socket), stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            wait_until(lambda: bool(client.ping()), "Redis answers")
        yield server
    finally:
        server.kill()
        server.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the children of a process are looked up in /proc")
def test_the_heartbeat_file_and_the_numbers(tmp_path: Path) -> None:
    port, alive, log = free_port(), tmp_path / "data" / "worker-alive", tmp_path / "worker.log"
    environment = {
        **os.environ,
        "ANIMATO_REDIS_URL": f"unix://{tmp_path}/redis.sock",
        "ANIMATO_DATA_DIR": str(tmp_path / "data"),
        "ANIMATO_WORKER_METRICS_PORT": str(port),
    }

    def age_of(moment_ns: int) -> float:
        return (alive.stat().st_mtime_ns - moment_ns) / 1e9

    with running_redis(tmp_path) as server, log.open("wb") as file:
        arguments = ["celery", "-A", "worker.engine.tasks", "worker"]
        worker = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=REPOSITORY, env=environment, stderr=file, start_new_session=True
        )
        try:
            wait_until(alive.exists, "the worker listens", timeout_s=90)
            os.kill(children_of(worker.pid)[0], signal.SIGSTOP)
            begin_ns = alive.stat().st_mtime_ns
            wait_until(lambda: age_of(begin_ns) > 12, "it is touched while the child hangs", timeout_s=60)
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            assert "animato_frames_processed_total 0.0" in text
            assert 'animato_job_run_duration_seconds_count{stage="infer"} 0.0' in text

            # The worst moment for the broker to go: when the parent comes back to its loop, all its timers are due,
            # before it can see that the connection has ended.
            os.kill(worker.pid, signal.SIGSTOP)
            server.kill()
            server.wait()
            wait_until(lambda: time.time() - alive.stat().st_mtime > _TIMERS_ARE_DUE_S, "its timers are due")
            os.kill(worker.pid, signal.SIGCONT)
            wait_until(lambda: "Connection to broker lost" in log.read_text(), "the loss is noticed", timeout_s=60)
            begin_ns = alive.stat().st_mtime_ns
            wait_until(lambda: age_of(begin_ns) > 15, "it is touched while the broker is away", timeout_s=90)
            with running_redis(tmp_path):
                wait_until(lambda: log.read_text().count('"event": "Connected to') >= 2, "it is connected again", 90)
                begin_ns = alive.stat().st_mtime_ns
                wait_until(lambda: age_of(begin_ns) > 3, "it beats again", timeout_s=60)
            assert "worker_metrics_not_served" not in log.read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
