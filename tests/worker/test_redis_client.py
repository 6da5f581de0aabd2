"""The door to Redis: what is tried again, and what is not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import redis

from worker.errors import QueueUnavailable
from worker.redis_client import connect, redis_errors_translated
from worker.settings import Settings


class Mute:
    """A server that takes connections and never says a word."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.connections.append(self._listener.accept()[0])

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def mute() -> Iterator[Mute]:
    server = Mute()
    yield server
    server.close()


def test_a_wait_in_vain_is_not_repeated(mute: Mute) -> None:
    client = connect(Settings(redis_url=mute.url, redis_timeout_s=0.2))
    with pytest.raises(QueueUnavailable), redis_errors_translated():
        client.ping()
    client.close()
    assert len(mute.connections) == 1


def test_a_connection_that_ended_unnoticed_is_opened_again(settings: Settings) -> None:
    client = connect(settings)
    admin = redis.Redis.from_url(settings.redis_url)
    client.client_setname("idle")
    (idle,) = (one for one in admin.client_list() if one["name"] == "idle")
    admin.client_kill_filter(_id=idle["id"])
    assert client.ping()
    client.close()
    admin.close()
