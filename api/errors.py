"""Errors of requests, as one tree.

    ApiError                 code, http_status, detail, hint, field, headers
    ├── BadForm              400: the multipart form itself (malformed, missing, unknown, duplicate or too many parts)
    ├── BadRequest           400: a parameter of the request (a cursor)
    │   └── InvalidIdempotencyKey
    ├── Unauthorized         401: no API key, or not a valid one
    ├── Forbidden            403: callers without a key, from elsewhere; a signed link that is not good
    ├── NotFound             404
    ├── MethodNotAllowed     405
    ├── UploadTooSlow        408
    ├── Conflict             409: not with the state in which the animation is
    │   └── IdempotencyInProgress
    ├── Gone                 410: it existed once
    ├── TooLarge             413: the body or a field
    ├── NotMultipart         415
    ├── RangeOutside         416
    ├── InvalidForm          422: options
    │   └── InputUrlRefused
    ├── IdempotencyKeyReused 422
    ├── InputNotFetched      422, 502, 504: the host of an input said no, or did not answer, or was too slow
    ├── PartRejected         an `AnimationError` about one file of the form: takes over its code and status
    ├── RateLimited          429: too often
    ├── QueueFull            429: as many animations wait as are allowed
    └── Unavailable          503: a part of the service is away, full or busy

`api.problem_answers` makes an answer of them, and of those of the worker's tree (`worker.errors`).
"""

from __future__ import annotations

from collections.abc import Mapping

from api.schemas import FieldProblem
from worker.errors import AnimationError


class ApiError(Exception):
    """An error with a code, a status, and what a client may want to know."""

    code = "internal_error"
    http_status = 500
    closes_connection = False
    """Set when the rest of the request's body is not worth reading."""

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        field: str | None = None,
        errors: list[FieldProblem] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.hint = hint
        self.field = field
        self.errors = errors
        self.headers = dict(headers or {})


class BadForm(ApiError):
    """The multipart form cannot be used."""

    code = "malformed_multipart"
    http_status = 400
    closes_connection = True


class BadRequest(ApiError):
    """A parameter cannot be used."""

    code = "invalid_request"
    http_status = 400


class InvalidIdempotencyKey(BadRequest):
    """The key is empty, too long, or has characters that headers should not have."""

    code = "invalid_idempotency_key"
    closes_connection = True


class Unauthorized(ApiError):
    """Who asks did not say so in a way that we know."""

    code = "unauthorized"
    http_status = 401
    closes_connection = True


class Forbidden(ApiError):
    """Not for this caller."""

    code = "anonymous_not_allowed"
    http_status = 403
    closes_connection = True


class NotFound(ApiError):
    """There is no such thing."""

    code = "animation_not_found"
    http_status = 404


class MethodNotAllowed(ApiError):
    """The path has other methods; `headers` names them."""

    code = "method_not_allowed"
    http_status = 405


class UploadTooSlow(ApiError):
    """The body came too slowly."""

    code = "upload_too_slow"
    http_status = 408
    closes_connection = True


class Conflict(ApiError):
    """The state of the animation does not allow it."""

    code = "not_finished"
    http_status = 409


class IdempotencyInProgress(Conflict):
    """The same request is being received already."""

    code = "idempotency_in_progress"
    closes_connection = True


class Gone(ApiError):
    """It was there once."""

    code = "result_gone"
    http_status = 410


class TooLarge(ApiError):
    """More bytes than a limit allows."""

    code = "body_too_large"
    http_status = 413
    closes_connection = True


class NotMultipart(ApiError):
    """The body is no multipart form."""

    code = "not_multipart"
    http_status = 415
    closes_connection = True


class RangeOutside(ApiError):
    """The range begins after the end."""

    code = "range_not_satisfiable"
    http_status = 416


class InvalidForm(ApiError):
    """Options of the form cannot be used; `errors` has one entry for each."""

    code = "invalid_options"
    http_status = 422


class InputUrlRefused(InvalidForm):
    """The URL of an input is one that this service does not ask for."""

    code = "input_url_refused"


class InputNotFetched(ApiError):
    """The host of an input is the reason: `input_url_failed`, `input_url_unreachable`, `input_url_too_slow`."""

    code = "input_url_failed"

    def __init__(self, detail: str, *, code: str, field: str, hint: str) -> None:
        super().__init__(detail, code=code, field=field, hint=hint)
        self.http_status = {"input_url_unreachable": 502, "input_url_too_slow": 504}.get(code, 422)


class IdempotencyKeyReused(ApiError):
    """The key stands for another request."""

    code = "idempotency_key_reused"
    http_status = 422


class PartRejected(ApiError):
    """One file of the form cannot be used."""

    closes_connection = True

    def __init__(self, field: str, error: AnimationError) -> None:
        super().__init__(error.detail, code=error.code, hint=error.hint, field=field)
        self.http_status = error.http_status


class RateLimited(ApiError):
    """Too many requests, or too many animations under way."""

    code = "rate_limited"
    http_status = 429
    closes_connection = True


class QueueFull(ApiError):
    """As many animations wait as are allowed."""

    code = "queue_full"
    http_status = 429
    closes_connection = True

    def __init__(self, retry_after_s: int, detail: str | None = None) -> None:
        super().__init__(
            detail or "As many animations are queued as this service allows.",
            hint="Send it again after the time in Retry-After.",
            headers={"Retry-After": str(retry_after_s)},
        )


class Unavailable(ApiError):
    """A part of the service is away, full or busy; the same request may succeed later."""

    code = "not_ready"
    http_status = 503
    closes_connection = True
