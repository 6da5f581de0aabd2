"""The door: who a caller is, and whether they may come in now.

With any API key in existence every caller needs one, in `Authorization: Bearer` or `X-API-Key`. Without keys only
callers on this machine are let in, unless `ANIMATO_ALLOW_ANONYMOUS` says that all are. Keys are counted against quotas;
callers without one are not: on this machine nobody has to be kept from himself, and elsewhere all that could be counted
is an address, which behind a proxy is the proxy's, or whatever a header claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from api.errors import Forbidden, RateLimited, Unauthorized
from api.rate_limits import Quota, RateLimiter
from api.settings import ApiSettings
from worker.api_keys import KeyStore
from worker.jobs import Job
from worker.loopback import is_loopback

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_REALM = 'Bearer realm="animato"'


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks."""

    client_id: str | None
    """The name of their key; None: there are no keys, and all callers are one."""

    def owns(self, job: Job) -> bool:
        """Whether an animation is theirs. What was made without a key belongs to those without one."""
        return job.context.client_id == self.client_id


class Door:
    """Lets callers in; safe to share between threads."""

    def __init__(
        self, keys: KeyStore, limiter: RateLimiter, settings: ApiSettings, *, allow_anonymous: bool = False
    ) -> None:
        self._keys = keys
        self._limiter = limiter
        self._settings = settings
        self._allow_anonymous = allow_anonymous
        self._requests = Quota("requests", settings.requests_per_minute)
        self._submissions = Quota("submissions", settings.submissions_per_minute)

    def admit(self, request: HTTPConnection) -> Caller:
        """The caller, with one request counted. Raises Unauthorized, Forbidden, RateLimited or QueueUnavailable."""
        text = key_of(request)
        if text is not None:
            key = self._keys.find(text)
            if key is None:
                # The same whether it never existed, was revoked or is misspelt.
                raise Unauthorized(
                    "The API key is not valid.", headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'}
                )
            self._count(request, key.name, self._requests)
            return Caller(client_id=key.name)
        if self._keys.exist():
            raise Unauthorized(
                "This service wants an API key.",
                hint="Send it as 'Authorization: Bearer ank_...'. The operator makes one with 'animato keys create'.",
                headers={"WWW-Authenticate": _REALM},
            )
        self._check_anonymous(request)
        return Caller(client_id=None)

    def admit_submission(self, request: HTTPConnection, caller: Caller) -> None:
        """Count a submission of `caller`, before its body is read. Raises RateLimited or QueueUnavailable."""
        if caller.client_id is not None:
            self._count(request, caller.client_id, self._submissions)

    def _count(self, request: HTTPConnection, client_id: str, quota: Quota) -> None:
        turn = self._limiter.take(client_id, quota)
        # Sent with whatever the answer will be (`middleware` adds them); of two quotas both are told.
        told = request.state.answer_headers = {**getattr(request.state, "answer_headers", {})}
        for name, value in turn.headers.items():
            told[name] = f"{told[name]}, {value}" if name in told else value
        if turn.wait_s:
            raise RateLimited(
                f"More than {quota.per_minute} {quota.name} a minute.",
                hint="Wait as long as Retry-After says.",
                headers={"Retry-After": str(turn.wait_s)},
            )

    def _check_anonymous(self, request: HTTPConnection) -> None:
        if not self._allow_anonymous and not _comes_from_this_machine(request):
            raise Forbidden(
                "Without an API key this service answers only callers on its own machine.",
                code="anonymous_not_allowed",
                hint="Operator: 'animato keys create NAME' makes a key; ANIMATO_ALLOW_ANONYMOUS=true lets all in.",
            )
        # Any page a browser shows can send a form here, and no key protects: so pages of other places are refused.
        origin = request.headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins or "*" in self._settings.allowed_origins:
            return
        if urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
            raise Forbidden(
                "The request comes from a page of another place.",
                code="cross_origin_refused",
                hint="Operator: ANIMATO_CORS_ORIGINS names the origins whose pages may call this service.",
            )


def key_of(request: HTTPConnection) -> str | None:
    """What the caller sent as a key; None when they sent nothing of the kind."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return text.strip()
    return request.headers.get("x-api-key")


def _comes_from_this_machine(request: HTTPConnection) -> bool:
    """Whether both ends of the connection are on the loopback, and nothing speaks for somebody farther away.

    A proxy in front makes every connection a local one: so a request that was passed on does not count as local, nor
    does one for a name that is not ours (a page whose name was made to point at 127.0.0.1 sends its own name).
    """
    server, client = request.scope.get("server"), request.scope.get("client")
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return all(end is not None and is_loopback(str(end[0])) for end in (server, client)) and (
        name in _LOCAL_NAMES or is_loopback(name)
    )
