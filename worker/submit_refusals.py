"""Why `submit` writes no record: the outcomes of its script as errors."""

from __future__ import annotations

from worker.idempotency_keys import KeyInUseError, KeyOfRemovedError, KeyReusedError


class AlreadyRetriedError(Exception):
    """The failed animation is not on the dead list (any more)."""


class QueueFullError(Exception):
    """As many animations are queued as are allowed."""


class ClientFullError(QueueFullError):
    """The client has as many animations under way as it may."""


REFUSALS: dict[str, type[Exception]] = {
    "full": QueueFullError,
    "client_full": ClientFullError,
    "not_dead": AlreadyRetriedError,
    "key_held": KeyInUseError,
    "key_used": KeyReusedError,
    "key_gone": KeyOfRemovedError,
}
"""What `submit.lua` returns in place of `ok`."""
