"""The cursor of a list: opaque to clients, so that its content may change."""

from __future__ import annotations

import base64
import binascii

from api.errors import BadRequest
from worker.jobs import JobKind, is_id


def write_cursor(last_id: str) -> str:
    """A cursor for what comes after `last_id`."""
    return base64.urlsafe_b64encode(f"1:{last_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: JobKind = JobKind.ANIMATION) -> str:
    """The id inside. Raises BadRequest."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    version, _, last_id = text.partition(":")
    if version != "1" or not is_id(last_id, kind):
        raise BadRequest(
            "The cursor is not one of ours.", code="invalid_cursor", field="cursor", hint="Send next_cursor unchanged."
        )
    return last_id
