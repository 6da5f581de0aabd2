"""What happens to every request, whatever its route: an id, a log event, headers, the first line of the body limit.

Plain ASGI: the framework's own middleware base class would buffer and hide disconnects.
"""

from __future__ import annotations

import re
import secrets
import time

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import CLIENT_CLOSED_REQUEST, problem_response, unexpected
from worker import logs

log = logs.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_QUIET_PATHS = {"/healthz", "/readyz"}
_LINGER_S = 1.0
_LINGER_MAX_BYTES = 4 * 2**20


class RequestBorder:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, body_max_bytes: int) -> None:
        self._app = app
        self._body_max_bytes = body_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(receive, send, request_id)
        started_s = time.monotonic()
        with logs.bound(request_id=request_id):
            try:
                await self._answer(scope, exchange)
            finally:
                write = log.debug if scope["path"] in _QUIET_PATHS else log.info
                write(
                    "http_request",
                    method=scope["method"],
                    path=scope["path"],
                    status=exchange.status or CLIENT_CLOSED_REQUEST,
                    received_bytes=exchange.received_bytes,
                    duration_ms=round(1000 * (time.monotonic() - started_s)),
                )

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        request = Request(scope)
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > self._body_max_bytes:
            response = problem_response(
                request,
                413,
                "body_too_large",
                f"The body has more than {self._body_max_bytes} bytes.",
                headers={"Connection": "close"},
            )
            await response(scope, exchange.receive, exchange.send)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("unexpected_error", method=scope["method"], path=scope["path"])
            if exchange.status is not None:
                raise  # Too late for another answer: the server cuts the connection, so that nobody takes it for whole.
            await unexpected(request)(scope, exchange.receive, exchange.send)


class _Exchange:
    """The two directions of one request, with headers added and an orderly end when its body is not wanted."""

    def __init__(self, receive: Receive, send: Send, request_id: str) -> None:
        self.status: int | None = None
        self.received_bytes = 0
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._body_ended = False
        self._closing = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
            self._body_ended = not message.get("more_body", False)
        else:
            self._body_ended = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            self._closing = headers.get("connection") == "close"
        elif message["type"] == "http.response.body" and self._closing and not message.get("more_body", False):
            # A server that closes while the client still sends makes the kernel answer with a reset, and the client may
            # never see why it was refused. So the whole answer goes out first, then a little is read and thrown away.
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        most_bytes = self.received_bytes + _LINGER_MAX_BYTES
        with anyio.move_on_after(_LINGER_S):
            while not self._body_ended and self.received_bytes < most_bytes:
                await self.receive()
