"""The one-command stack: what it needs, and how it says so. (`tests/test_main_road.py` runs it.)"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from tests.conftest import wait_until
from worker import embedded_redis
from worker.api_keys import KeyStore
from worker.child_process import Child
from worker.embedded import Stack
from worker.embedded_redis import borrowed_redis, find_redis_server, open_socket_path, redis_arguments
from worker.errors import EmbeddedError
from worker.settings import Settings


def test_a_server_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == server
    valkey = tmp_path / "valkey-server"
    valkey.write_text("#!/bin/sh\n")
    valkey.chmod(0o755)
    assert find_redis_server() == valkey
    assert find_redis_server(str(server)) == server


def test_no_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(embedded_redis.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError) as caught:
        find_redis_server()
    assert caught.value.code == "redis_not_found"
    assert "apt install redis-server" in str(caught.value.hint)
    with pytest.raises(EmbeddedError):
        find_redis_server("/no/such/server")


def test_redis_is_durable_and_private() -> None:
    line = " ".join(redis_arguments(Path("redis-server"), Path("/data"), Path("/data/redis.sock")))
    for option in ("--port 0", "--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in line
    assert "--unixsocketperm 700" in line


def test_a_port_in_use_is_a_clear_error_and_leaves_the_directory_free(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for _ in range(2):
            with (
                pytest.raises(EmbeddedError) as caught,
                Stack(Settings(data_dir=tmp_path), host="127.0.0.1", port=port, say=print),
            ):
                pass
            assert caught.value.code == "port_unavailable"


def test_a_redis_that_cannot_start_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_text("*1\r\n$9\r\nnonsense!\r\n")
    with (
        pytest.raises(EmbeddedError) as caught,
        Stack(Settings(data_dir=tmp_path), host="127.0.0.1", port=0, say=print),
    ):
        pass
    assert caught.value.code == "redis_failed"


def test_the_data_directory_is_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    with pytest.raises(EmbeddedError), Stack(Settings(data_dir=data_dir), host="203.0.113.1", port=0, say=print):
        pass
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    short, long = tmp_path / "a", tmp_path / ("x" * 100)
    with open_socket_path(short) as path:
        assert path == short / "redis.sock"
    with open_socket_path(long) as path:
        assert len(os.fsencode(path)) < 108
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def running_in_group(group: int) -> list[str]:
    """The states of the processes of a group; one that has ended but was not reaped yet does not run."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _parent, its_group, *_ = path.read_text().rsplit(")", 1)[1].split()
            if int(its_group) == group and state != "Z":
                states.append(state)
    return states


def test_a_child_that_dies_is_started_again_and_killed_with_its_children(tmp_path: Path) -> None:
    said: list[str] = []
    program = "import os, subprocess, sys, time; print(os.getpid(), flush=True); subprocess.run(['sleep', '600'])"
    log = tmp_path / "child.log"
    child = Child("child", [sys.executable, "-c", program], dict(os.environ), log, dies_with_us=signal.SIGKILL)
    child.start()
    wait_until(lambda: log.read_text().count("\n") == 1, "it has started")
    child.signal(signal.SIGKILL)

    def started_again() -> bool:
        child.supervise(said.append)
        return log.read_text().count("\n") == 2

    wait_until(started_again, "it has started again")
    assert "SIGKILL" in said[0]
    assert str(log) in said[0]
    pid = int(log.read_text().split()[1])
    child.stop(patience_s=5)
    assert not child.is_alive()
    # Killed is not yet gone: the kernel takes its time with a grandchild that nobody waits for.
    wait_until(lambda: running_in_group(pid) == [], "its children have ended")


def stack_of(settings: Settings, host: str) -> Stack:
    return Stack(settings, host=host, port=0, say=print)


def test_without_keys_only_the_loopback_is_listened_on(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(EmbeddedError) as caught, stack_of(settings, "0.0.0.0"):
        pass
    assert caught.value.code == "keys_needed"
    assert "animato keys create" in str(caught.value.hint)
    assert "--allow-anonymous" in str(caught.value.hint)

    with borrowed_redis(settings) as reached:
        store = KeyStore.connect(reached)
        text, _ = store.create("website")
        store.close()
    for allowed in (settings, Settings(data_dir=tmp_path / "b", allow_anonymous=True)):
        with stack_of(allowed, "0.0.0.0"):
            pass

    # A command beside the running service reaches the same Redis, and after it the same data.
    for host in ("127.0.0.1", None):
        with stack_of(settings, host) if host else nullcontext(), borrowed_redis(settings) as reached:
            store = KeyStore.connect(reached)
            assert store.find(text)
            store.close()
    assert not (tmp_path / "redis" / "address").exists()


def test_a_configured_redis_is_the_one_that_commands_reach(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "none", redis_url="unix:///elsewhere")
    with borrowed_redis(settings) as reached:
        assert reached is settings
    assert not settings.data_dir.exists()
