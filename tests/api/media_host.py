"""A real host that people keep media on, well-behaved and otherwise."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass
class MediaHost:
    """A running host; `files` is what it has, `seen` is what it was asked for."""

    port: int
    files: dict[str, bytes]
    seen: list[str] = field(default_factory=list)
    headers_seen: list[dict[str, str]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when somebody left before an endless answer did."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@contextmanager
def media_host(files: dict[str, bytes]) -> Iterator[MediaHost]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.seen.append(self.path)
            host.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            content = host.files.get(parts.path)
            if "to" in query:
                self._head(int(query.get("status", "302")), {"Location": query["to"], "Content-Length": "0"})
            elif content is None:
                self._head(int(query.get("status", "404")), {"Content-Length": "0"})
            elif "endless" in query:
                self._head(200, {"Connection": "close"})
                self._endless(content, float(query["endless"]))
            else:
                length = int(query.get("length", len(content)))
                packed = {"Content-Encoding": query["packed"]} if "packed" in query else {}
                self._head(200, {"Content-Length": str(length), "Connection": "close", **packed})
                self.wfile.write(content)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def _endless(self, content: bytes, pause_s: float) -> None:
            with suppress(OSError):
                self.wfile.write(content)
                while not host.closing.wait(pause_s):
                    self.wfile.write(b"\0" * 2048)
            if not host.closing.is_set():
                host.left.set()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = MediaHost(server.server_address[1], files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
