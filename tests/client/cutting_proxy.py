"""A TCP proxy that cuts connections at chosen bytes, and lets all others through."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Cut(NamedTuple):
    """Where one connection is cut: after so many bytes in one direction."""

    direction: Literal["up", "down"]
    after_bytes: int


@dataclass
class CuttingProxy:
    """A running proxy to `target_port`; each new connection takes the next of `cuts`, if there is one."""

    port: int
    target_port: int
    cuts: list[Cut] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    """Bytes in each direction so far, of all connections."""
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def cutting_proxy(target_port: int) -> Iterator[CuttingProxy]:
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = CuttingProxy(listener.getsockname()[1], target_port)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            proxy.connections += 1
            cut = proxy.cuts.pop(0) if proxy.cuts else None
            try:
                server = socket.create_connection(("127.0.0.1", proxy.target_port))
            except OSError:
                client.close()
                continue
            threading.Thread(target=serve, args=[client, server, cut], daemon=True).start()

    def serve(client: socket.socket, server: socket.socket, cut: Cut | None) -> None:
        with client, server:
            pumps = []
            for source, sink, direction in ((client, server, "up"), (server, client, "down")):
                left = cut.after_bytes if cut and cut.direction == direction else None
                pumps.append(threading.Thread(target=pump, args=[source, sink, left, direction], daemon=True))
                pumps[-1].start()
            for thread in pumps:
                thread.join()

    def pump(source: socket.socket, sink: socket.socket, left: int | None, direction: str) -> None:
        passed = 0
        with suppress(OSError):
            while left is None or passed < left:
                chunk = source.recv(min(65536, (left - passed) if left is not None else 65536))
                if not chunk:
                    break
                sink.sendall(chunk)
                passed += len(chunk)
                proxy.passed[direction] += len(chunk)
        for end in (source, sink):
            # Not close: the other direction's thread waits in it.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.close()
