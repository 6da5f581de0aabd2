"""Signatures of webhooks, as in Standard Webhooks 1.0.0 (symmetric, `v1`).

The installation has one secret or, while it is being replaced, several. Each client's own secret is made of it and of
the client's name, so that no client can sign for another, and nothing has to be stored for each.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from datetime import datetime

import redis
from standardwebhooks import Webhook

from api.settings import ApiSettings
from worker.errors import AnimationError
from worker.redis_client import PREFIX, translated

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
_SECRET = f"{PREFIX}webhook-secret"
_SHORTEST_BYTES = 24


class WebhookSecretUnusable(AnimationError):
    """A configured secret is not of the form that Standard Webhooks asks for."""

    code = "invalid_webhook_secret"


class WebhookSigner:
    """Signs for every client; safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: ApiSettings) -> None:
        """Raises WebhookSecretUnusable."""
        self._redis = client
        self._secrets = [_decoded(text) for text in re.split(r"[\s,]+", settings.webhook_secrets) if text]

    @translated
    def load(self) -> None:
        """Know the secret: a configured one, or the one that Redis keeps for all API processes."""
        if not self._secrets:
            self._redis.set(_SECRET, secrets.token_hex(32), nx=True)
            self._secrets = [bytes.fromhex(str(self._redis.get(_SECRET)))]

    def secrets_of(self, client_id: str | None) -> list[str]:
        """The secrets of a client, `whsec_...`: each signs, the first is the one to verify with from now on."""
        self.load()
        own = [hmac.digest(secret, f"webhook\n{client_id or ''}".encode(), "sha256") for secret in self._secrets]
        return [SECRET_PREFIX + base64.b64encode(secret).decode() for secret in own]

    def headers(self, client_id: str | None, message_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
        """The three headers of an attempt."""
        signatures = [Webhook(text).sign(message_id, sent_at, body.decode()) for text in self.secrets_of(client_id)]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def _decoded(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(SECRET_PREFIX) or len(secret) < _SHORTEST_BYTES:
        raise WebhookSecretUnusable(
            "An entry of ANIMATO_WEBHOOK_SECRETS is not 'whsec_' and at least 24 bytes in base64.",
            hint="echo whsec_$(openssl rand -base64 32) makes one.",
        )
    return secret
