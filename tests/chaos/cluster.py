"""A whole installation as processes of its own: Redis, two APIs, workers with the stub animator, a storage."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import redis

from tests.chaos.processes import Process
from tests.conftest import REPOSITORY, free_port, wait_until
from worker.embedded import find_redis_server, redis_arguments
from worker.job_store import JobStore
from worker.settings import Settings

_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Times:
    """How patient the installation is."""

    lease_s: float
    heartbeat_s: float
    retry_backoff_s: float
    housekeeping_interval_s: float
    first_ring_wait_s: float


PRODUCTION = Times(lease_s=30, heartbeat_s=10, retry_backoff_s=5, housekeeping_interval_s=5, first_ring_wait_s=15)
SHORT = Times(lease_s=2, heartbeat_s=0.5, retry_backoff_s=0.2, housekeeping_interval_s=0.5, first_ring_wait_s=1)


class Cluster:
    """Started when entered, killed when left. Its parts are attributes: kill them as you like."""

    def __init__(
        self,
        folder: Path,
        times: Times,
        *,
        apis: int = 2,
        workers: int = 3,
        storage: Settings | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`storage`: settings whose storage is used in place of a folder. `environment`: more for every process."""
        self.times = times
        self.data_dir = folder / "data"
        self.redis_dir = folder / "redis"
        for made in (self.data_dir, self.redis_dir):
            made.mkdir(parents=True, exist_ok=True)
        self._exit = ExitStack()
        # A socket's path may have 107 bytes: the folder of a test is longer.
        self._socket = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))) / "redis.sock"
        kept = ("storage_url", "storage_endpoint_url", "storage_access_key_id", "storage_secret_access_key")
        self.settings = Settings(
            data_dir=self.data_dir,
            redis_url=f"unix://{self._socket}",
            lease_s=times.lease_s,
            heartbeat_s=times.heartbeat_s,
            retry_backoff_s=times.retry_backoff_s,
            first_ring_wait_s=times.first_ring_wait_s,
            **({name: getattr(storage, name) for name in kept} if storage else {}),
        )
        self.environment = {
            **self.settings.as_environment(),
            "ANIMATO_HOUSEKEEPING_INTERVAL_S": str(times.housekeeping_interval_s),
            "ANIMATO_DISK_RESERVE_BYTES": "0",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self.redis = Process(
            "redis", redis_arguments(find_redis_server(), self.redis_dir, self._socket), os.environ, folder
        )
        self.api_ports = [free_port() for _ in range(apis)]
        self.apis = [
            Process(f"api-{port}", self._api_arguments(port), self.environment, folder) for port in self.api_ports
        ]
        self.workers = [self._worker(f"worker-{number}", folder) for number in range(workers)]
        self.store = JobStore.connect(self.settings)
        self.client = redis.Redis.from_url(self.settings.redis_url, decode_responses=True, socket_timeout=10)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.push(self._exit)
            stack.callback(self.close)
            self.start_redis()
            for process in (*self.apis, *self.workers):
                process.start()
            self.wait_for_apis()
            self.wait_for_workers()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    def close(self) -> None:
        """Kill everything: nothing in here ends politely."""
        for process in (*self.workers, *self.apis, self.redis):
            process.kill()
        self.store.close()
        self.client.close()

    def start_redis(self) -> None:
        """Start Redis and wait for its answer."""
        self._socket.unlink(missing_ok=True)
        self.redis.start()
        wait_until(lambda: bool(self.client.ping()), "Redis answers", _START_TIMEOUT_S)

    def wait_for_apis(self) -> None:
        """Wait until every API is ready."""
        for process, url in zip(self.apis, self.urls, strict=True):

            def ready(process: Process = process, url: str = url) -> bool:
                assert process.is_alive(), process.last_lines()
                try:
                    return httpx.get(f"{url}/readyz", timeout=5).is_success
                except httpx.TransportError:
                    return False

            wait_until(ready, f"{process.name} is ready", _START_TIMEOUT_S)

    def ready_workers(self) -> list[Process]:
        """The workers that listen for the bell."""
        return [worker for worker in self.workers if worker.is_alive() and worker.has_said("ready.")]

    def wait_for_workers(self) -> None:
        """Wait until all workers listen."""
        wait_until(lambda: len(self.ready_workers()) == len(self.workers), "the workers listen", _START_TIMEOUT_S)

    @property
    def urls(self) -> list[str]:
        """Where the APIs listen."""
        return [f"http://127.0.0.1:{port}" for port in self.api_ports]

    def revive(self) -> None:
        """Start again what is not alive, as a supervisor does. (From the main thread.)"""
        if not self.redis.is_alive():
            self.start_redis()
        for process in (*self.apis, *self.workers):
            if not process.is_alive():
                process.kill()  # what is left of its group
                process.start()

    def messages(self) -> int:
        """Doorbells that nobody has taken yet or that a worker has taken and not acknowledged."""
        waiting: int = self.client.llen("animato:queue:animations")  # pyright: ignore[reportAssignmentType]
        taken: int = self.client.hlen("animato:queue:unacked")  # pyright: ignore[reportAssignmentType]
        return waiting + taken

    def _worker(self, name: str, folder: Path) -> Process:
        arguments = ("-m", "celery", "-A", "tests.chaos.stub_tasks", "worker")
        return Process(name, [sys.executable, *arguments, "--hostname", f"{name}@%h"], self.environment, folder)

    @staticmethod
    def _api_arguments(port: int) -> list[str]:
        arguments = ("-m", "uvicorn", "--factory", "api.app:create_app", "--host", "127.0.0.1", "--no-access-log")
        return [sys.executable, *arguments, "--port", str(port)]


def pause(seconds: float) -> None:
    """Let the installation run for a while: here time is what is tested."""
    time.sleep(seconds)
