"""How every error becomes `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api.errors import ApiError
from api.problem_catalog import title_of, type_of
from api.schemas import FieldProblem, Problem
from worker import logs
from worker.errors import AnimationError

MEDIA_TYPE = "application/problem+json"
NO_SUCH_METHOD = "no_such_method"
"""Name of a route that takes methods only to refuse them."""
CLIENT_CLOSED_REQUEST = 499
"""Nobody reads this answer: the status is for our log, as other servers write it."""

_RETRYABLE = {429, 503}
_WITHOUT_BODY = {"GET", "HEAD", "DELETE"}
log = logs.get_logger(__name__)


def install_handlers(app: FastAPI, retry_after_s: int) -> None:
    """Render every error of `app` as a problem."""

    async def on_api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        headers = dict(error.headers)
        if error.closes_connection and request.method not in _WITHOUT_BODY:
            headers["Connection"] = "close"
        return _render(
            request,
            error.http_status,
            error.code,
            error.detail,
            hint=error.hint,
            field=error.field,
            errors=error.errors,
            headers=headers,
        )

    async def on_animation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, AnimationError)
        if error.http_status >= 500:
            log.warning("request_failed", code=error.code, cause=repr(error.__cause__), exc_info=error)
        if error.http_status == 500:
            return unexpected(request)
        return _render(request, error.http_status, error.code, error.detail, hint=error.hint)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        detail = {
            404: f"There is nothing at {request.url.path}.",
            405: f"{request.method} does not exist at {request.url.path}.",
        }.get(error.status_code, str(error.detail))
        hint = "The paths are listed in /openapi.json." if error.status_code == 404 else None
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed_methods(request))
        return _render(request, error.status_code, code, detail, hint=hint, headers=headers)

    async def on_invalid_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [
            FieldProblem(field=".".join(str(part) for part in item["loc"][1:]), detail=item["msg"])
            for item in error.errors()
        ]
        detail = "; ".join(f"{item.field}: {item.detail}" for item in errors)
        return _render(request, 422, "invalid_request", detail, field=errors[0].field, errors=errors)

    async def on_disconnect(_request: Request, _error: Exception) -> Response:
        log.info("client_disconnected")
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    def _render(request: Request, status: int, code: str, detail: str, **more: object) -> Response:
        return problem_response(request, status, code, detail, retry_after_s=retry_after_s, **more)  # pyright: ignore[reportArgumentType]

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(AnimationError, on_animation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(ClientDisconnect, on_disconnect)


def _allowed_methods(request: Request) -> list[str]:
    """The methods that the path has. (The framework names only those of the first route that it finds.)"""
    methods: list[str] = []
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        taker = next((route for route in request.app.router.routes if route.matches(scope)[0] is Match.FULL), None)
        if taker is not None and getattr(taker, "name", None) != NO_SUCH_METHOD:
            methods.append(method)
    return methods


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    field: str | None = None,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
    retry_after_s: int = 5,
) -> Response:
    """A problem as a response."""
    problem = Problem(
        type=type_of(code),
        title=title_of(code),
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        field=field,
        errors=errors,
        request_id=request.scope.get("state", {}).get("request_id"),
        instance=request.url.path,
    )
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if status in _RETRYABLE:
        sent.setdefault("Retry-After", str(retry_after_s))
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True), status_code=status, headers=sent, media_type=MEDIA_TYPE
    )


def unexpected(request: Request) -> Response:
    """The answer to a defect of ours: it says nothing about the inside; the log has the traceback."""
    return problem_response(
        request,
        500,
        "internal_error",
        "The request failed because of an error in the service.",
        hint="Tell the operator the request_id: the log has the details under it.",
        headers={"Connection": "close"},
    )
