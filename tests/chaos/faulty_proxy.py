"""A small TCP proxy that can be told to refuse, stall, slow down, or answer HTTP calls with errors."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from typing import Literal

Mode = Literal["pass", "refuse", "stall", "slow", "errors"]
_METHODS = (b"GET ", b"PUT ", b"HEAD ", b"POST ", b"DELETE ")
_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LOOK_EVERY_S = 0.1


class FaultyProxy:
    """Passes connections on to `target_port`; `mode` may change at any time, also for open connections."""

    def __init__(self, target_port: int, dice: random.Random) -> None:
        self._target_port = target_port
        self._dice = dice
        self.mode: Mode = "pass"
        self.bytes_per_s = 1024
        self.error_share = 0.2
        self.faults = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closed = threading.Event()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                self.faults += 1
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                _reset(client)
                continue
            for source, sink, is_request in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=[source, sink, is_request], daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        with suppress(OSError):
            source.settimeout(_LOOK_EVERY_S)
            while not self._closed.is_set() and self.mode != "refuse":
                try:
                    chunk = source.recv(16 * 1024)
                except TimeoutError:
                    continue
                if not chunk:
                    break
                if is_request and self._answers_with_an_error(chunk):
                    source.sendall(_ERROR)
                    break
                self._hold_back(sink, chunk)
            else:
                self.faults += 1
        for end in (source, sink):
            _reset(end) if self.mode == "refuse" else end.close()

    def _answers_with_an_error(self, chunk: bytes) -> bool:
        hit = self.mode == "errors" and chunk.startswith(_METHODS) and self._dice.random() < self.error_share
        self.faults += hit
        return hit

    def _hold_back(self, sink: socket.socket, chunk: bytes) -> None:
        """Pass `chunk` on, as the mode allows."""
        if self.mode in ("stall", "slow"):
            self.faults += 1
        while self.mode == "stall" and not self._closed.is_set():
            time.sleep(_LOOK_EVERY_S)
        while chunk:
            part = chunk
            if self.mode == "slow":
                part = chunk[: max(1, int(self.bytes_per_s * _LOOK_EVERY_S))]
                time.sleep(_LOOK_EVERY_S)
            sink.sendall(part)
            chunk = chunk[len(part) :]


def _reset(end: socket.socket) -> None:
    """Close it as a host does where nobody listens: with RST."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        end.close()
