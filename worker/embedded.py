"""`animato up`: the whole service from one command, with nothing to install.

A supervisor with four children, the same programs as in docker-compose.yml: a Redis server on a unix socket that only
this user can reach, one worker, a lane for preflights, and uvicorn with the API. The supervisor owns the listening
socket, so that a restarted API loses no connection, and a lock on the data directory, so that two instances cannot
share one queue.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from worker.api_keys import KeyStore
from worker.child_process import Child
from worker.embedded_redis import (
    ADDRESS_FILE,
    find_redis_server,
    locked,
    open_socket_path,
    redis_arguments,
    wait_for_redis,
)
from worker.errors import EmbeddedError
from worker.loopback import is_loopback
from worker.media_probe import check_ffmpeg
from worker.settings import Settings

_API_ARGUMENTS = (
    *("-m", "uvicorn", "--factory", "api.app:create_app"),
    *("--no-access-log", "--timeout-graceful-shutdown", "10"),  # the API logs its requests itself
    # Longer than clients and proxies keep an idle connection (nginx and others: 60 s): who closes first never loses a
    # request that is just being sent.
    *("--timeout-keep-alive", "75"),
)
_LANE_ARGUMENTS = ("-m", "worker.engine.preflight_lane")
_BEHIND_THE_API = 10
"""Niceness of what computes: an animation that runs a few per cent longer is not noticed, an answer that waits is."""
_WORKER_ARGUMENTS = ("-m", "celery", "-A", "worker.engine.tasks", "worker")


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
        check_ffmpeg()
        with ExitStack() as stack:
            data_dir = self._settings.data_dir.absolute()
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(locked(data_dir))
            logs = data_dir / "logs"
            logs.mkdir(exist_ok=True, mode=0o700)
            listener = stack.enter_context(_listen(self._host, self._port))
            self.url = f"http://{self._host}:{listener.getsockname()[1]}"

            redis_dir = data_dir / "redis"
            redis_dir.mkdir(exist_ok=True, mode=0o700)
            socket_path = stack.enter_context(open_socket_path(redis_dir))
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
                niceness=_BEHIND_THE_API,
            )
            self._lane = Child(
                "preflight lane",
                [sys.executable, *_LANE_ARGUMENTS],
                environment,
                logs / "preflight.log",
                dies_with_us=signal.SIGKILL,
                niceness=_BEHIND_THE_API,
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
            wait_for_redis(self._redis, socket_path)
            (redis_dir / ADDRESS_FILE).write_text(settings.redis_url)
            stack.callback((redis_dir / ADDRESS_FILE).unlink, missing_ok=True)
            self._refuse_unknown_callers(settings)
            self._worker.start()
            if settings.preflight_lane:
                self._lane.start()
            self._api.start()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    def supervise(self) -> None:
        """Look after the children once; call it a few times a second."""
        lane = (self._lane,) if self._settings.preflight_lane else ()
        for child in (self._redis, self._worker, *lane, self._api):
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
        self._lane.stop(patience_s=2)  # nobody waits for an answer any more
        if self._worker.is_alive():
            self._say("Stopping. A running animation is finished first; Ctrl-C again leaves it for the next start.")
        drained = self._worker.stop(patience_s=self._settings.job_time_limit_s, give_up=lambda: self._interrupts > 1)
        if not drained:
            self._say("The running animation was left; the next start takes it up again.")
        self._redis.stop(patience_s=30)

    def _refuse_unknown_callers(self, settings: Settings) -> None:
        """Other machines shall not reach a service that asks nobody who they are, unless somebody says so."""
        if settings.allow_anonymous or self._host == "localhost" or is_loopback(self._host):
            return
        keys = KeyStore.connect(settings)
        try:
            if keys.exist():
                return
        finally:
            keys.close()
        raise EmbeddedError(
            f"Whoever reaches {self._host} could use this service: there is no API key.",
            code="keys_needed",
            hint="'animato keys create NAME' makes one (with the same --data-dir); "
            "--allow-anonymous or ANIMATO_ALLOW_ANONYMOUS=true lets in everybody.",
        )


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket that a child can inherit; port 0 takes a free one."""
    family: Literal[socket.AddressFamily.AF_INET, socket.AddressFamily.AF_INET6] = (
        socket.AF_INET6 if ":" in host else socket.AF_INET
    )
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. uvicorn takes what comes by `--fd` for unix sockets, so nobody else sets it;
        # and the body of an answer then waits some 40 ms for the acknowledgement of its headers.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
