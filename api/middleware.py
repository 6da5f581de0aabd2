"""What happens to every request, whatever its route: an id, a log event, headers, the first line of the body limit.

Plain ASGI: the framework's own middleware base class would buffer and hide disconnects.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import ApiMetrics
from api.problem_answers import CLIENT_CLOSED_REQUEST, problem_response, unexpected
from api.settings import ApiSettings
from worker import logs, tracing

log = logs.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_QUIET_PATHS = {"/healthz", "/readyz", "/metrics"}
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # JSON and videos need nothing of a browser; a page of ours has to send its own policy.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer, unless a route has set its own."""
_CORS_REQUEST_HEADERS = (
    *("Authorization", "X-API-Key", "Idempotency-Key", "Prefer", "X-Request-ID", "traceparent"),
    *("If-None-Match", "If-Range", "Range", "Last-Event-ID", "Cache-Control"),
)
_CORS_ANSWER_HEADERS = (
    *("X-Request-ID", "ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Preference-Applied"),
    *("Content-Disposition", "Content-Range", "Accept-Ranges"),
)
_LINGER_S = 1.0
_LINGER_MAX_BYTES = 4 * 2**20


class RequestBorder:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics
        self._body_max_bytes = settings.body_max_bytes
        self._headers = dict(_SECURITY_HEADERS)
        if settings.hsts_max_age_s:
            self._headers["Strict-Transport-Security"] = f"max-age={settings.hsts_max_age_s}"
        # Around our own answers too, so that a page of an allowed origin can read why it was refused.
        self._inner: ASGIApp = _with_cors(self._answer, settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = scope["state"]["exchange"] = _Exchange(receive, send, scope, self._headers)
        started_s = time.monotonic()
        with logs.bound(request_id=request_id):
            try:
                await self._traced(scope, exchange)
            finally:
                took_s = time.monotonic() - started_s
                status = exchange.status or CLIENT_CLOSED_REQUEST
                route = getattr(scope.get("route"), "path", None)
                self._metrics.answered(scope["method"], route, status, exchange.received_bytes, took_s)
                write = log.debug if scope["path"] in _QUIET_PATHS else log.info
                write(
                    "http_request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    received_bytes=exchange.received_bytes,
                    duration_ms=round(1000 * took_s),
                )

    async def _traced(self, scope: Scope, exchange: _Exchange) -> None:
        traceparent = Headers(scope=scope).get("traceparent")
        with tracing.span(scope["method"], traceparent=traceparent, is_request=True) as span:
            await self._inner(scope, exchange.receive, exchange.send)
            if (route := getattr(scope.get("route"), "path", None)) is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", exchange.status or CLIENT_CLOSED_REQUEST)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        exchange: _Exchange = scope["state"]["exchange"]
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > self._body_max_bytes:
            response = problem_response(
                request,
                413,
                "body_too_large",
                f"The body has more than {self._body_max_bytes} bytes.",
                headers={"Connection": "close"},
            )
            await response(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception:
            log.exception("unexpected_error", method=scope["method"], path=scope["path"])
            if exchange.status is not None:
                raise  # Too late for another answer: the server cuts the connection, so that nobody takes it for whole.
            await unexpected(request)(scope, receive, send)


def _with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """`app`, callable by pages of `origins`. Never with cookies: who calls sends a key, or is nobody."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "DELETE"),
        allow_headers=_CORS_REQUEST_HEADERS,
        expose_headers=_CORS_ANSWER_HEADERS,
    )


class _Exchange:
    """The two directions of one request, with headers added and an orderly end when its body is not wanted."""

    def __init__(self, receive: Receive, send: Send, scope: Scope, headers: Mapping[str, str]) -> None:
        self.status: int | None = None
        self.received_bytes = 0
        self._receive = receive
        self._send = send
        self._state = scope["state"]
        self._headers = headers
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
            headers["X-Request-ID"] = self._state["request_id"]
            # Of the quotas of this caller: what `access` learned, whatever the answer became afterwards.
            headers.update(self._state.get("answer_headers", {}))
            for name, value in self._headers.items():
                headers.setdefault(name, value)
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
