"""Links to a result or a view that work without a key until they expire.

A link names the animation, which of its files is meant, and the time of its end, and carries the HMAC of these under a
secret of the installation. Nothing is stored for a link: it ends by itself, or all of them with their secret.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from datetime import datetime
from typing import NamedTuple

import redis

from api.errors import Forbidden
from api.settings import ApiSettings
from worker.jobs import as_utc
from worker.redis_client import PREFIX, translated

_SECRET = f"{PREFIX}link-secret"


class SignedLink(NamedTuple):
    """A link and its end."""

    url: str
    expires_at: datetime


class LinkSigner:
    """Makes and checks links; safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: ApiSettings) -> None:
        self._redis = client
        self._public_url = settings.public_url.rstrip("/")
        self._ttl_s = settings.link_ttl_s
        self._secret = settings.link_secret

    @translated
    def load(self) -> None:
        """Know the secret from now on: the configured one, or the one that all API processes share in Redis."""
        if not self._secret:
            self._redis.set(_SECRET, secrets.token_hex(32), nx=True)
            self._secret = str(self._redis.get(_SECRET) or "")

    def link(self, job_id: str, file: str, root_path: str) -> SignedLink | None:
        """A link to a file of an animation (`result`, `views/flow`); None as long as the secret is not known.

        All links of a while have the same end, so that an animation that does not change is answered with the same
        bytes, and its ETag holds.
        """
        if not self._secret:
            return None
        expires = (int(time.time()) // self._ttl_s + 2) * self._ttl_s
        signature = self._signature(job_id, file, str(expires))
        path = f"/animations/{job_id}/{file}?expires={expires}&signature={signature}"
        return SignedLink((self._public_url or root_path) + path, as_utc(expires))

    def check(self, job_id: str, file: str, expires: str | None, signature: str | None) -> None:
        """Raises Forbidden for a link that is not ours or not any more, QueueUnavailable."""
        self.load()
        known = self._signature(job_id, file, expires or "")
        if not self._secret or not hmac.compare_digest(known.encode(), (signature or "").encode()):
            raise Forbidden("The link is not one of this service, or a part of it is missing.", code="link_invalid")
        if int(expires or 0) <= time.time():
            raise Forbidden(
                "The link has expired.",
                code="link_expired",
                hint="GET /animations/{id}, with a key, has a new one in result.url.",
            )

    def _signature(self, job_id: str, file: str, expires: str) -> str:
        signed = hmac.digest(self._secret.encode(), f"{file}\n{job_id}\n{expires}".encode(), "sha256")
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
