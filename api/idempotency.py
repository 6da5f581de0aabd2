"""`Idempotency-Key`: a request that is sent again, because its answer was lost, makes no second animation.

While an upload runs its key is reserved, with a life of seconds that is renewed: a process that dies lets go of it. The
record and the final meaning of the key are written in one step (`worker/lua/submit.lua`), so no crash falls between.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import anyio

from api.dependencies import Services
from api.errors import Gone, IdempotencyInProgress, IdempotencyKeyReused, InvalidIdempotencyKey
from api.file_parts import FILE_PARTS
from api.threads import in_thread
from api.uploads import ReceivedForm
from worker import logs
from worker.errors import QueueUnavailable
from worker.idempotency_keys import EarlierRequest, KeyInUseError, KeyOfRemovedError, KeyReusedError, Reservation
from worker.jobs import AnimationOptions, Job

log = logs.get_logger(__name__)

_KEY = re.compile(r"[!-~]{1,255}")
_QUOTED_KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
"""The string of a structured field (RFC 8941), as the draft of the header asks for; many clients send none."""


@dataclass(kw_only=True, slots=True)
class HeldKey:
    """A key while its upload runs."""

    key: str
    """Of the client and of what it sent: nobody can meet the key of another."""
    earlier: EarlierRequest | None
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def reservation(self, fingerprint: str, keep_s: float) -> Reservation:
        """What the record is submitted with."""
        return Reservation(self.key, self.token, fingerprint, keep_s)


def read_key(values: list[str]) -> str | None:
    """The key, checked: with and without quotes it is the same; None without one. Raises InvalidIdempotencyKey."""
    if not values:
        return None
    if len(values) == 1:
        [value] = values
        if quoted := _QUOTED_KEY.fullmatch(value):
            return re.sub(r"\\(.)", r"\1", quoted[1])
        if _KEY.fullmatch(value) and value != '""':
            return value
    raise InvalidIdempotencyKey(
        "The header Idempotency-Key must have 1 to 255 visible ASCII characters, in quotes or not.",
        field="Idempotency-Key",
        hint="Make a new UUID for every animation, and send the same one again when you repeat the request.",
    )


@asynccontextmanager
async def held(services: Services, key: str | None, client_id: str | None) -> AsyncIterator[HeldKey | None]:
    """Reserve `key` for the block. Raises IdempotencyInProgress when the same request is on its way.

    A block that fails gives the key back, unless it may have written the record.
    """
    if key is None:
        yield None
        return
    hold_s = services.api_settings.idempotency_hold_s
    name = hashlib.sha256(f"{client_id or ''}\0{key}".encode()).hexdigest()
    held_key = HeldKey(key=name, earlier=None)
    keys = services.job_store.keys
    with refusals_explained(services):
        held_key.earlier = await in_thread(keys.reserve, name, held_key.token, hold_s)
    if held_key.earlier:
        yield held_key
        return
    renewal = asyncio.create_task(_renew(services, held_key, hold_s))
    may_be_written = False
    try:
        yield held_key
    except QueueUnavailable as error:
        may_be_written = error.outcome_unknown
        raise
    finally:
        renewal.cancel()
        if not may_be_written:
            # After a success this changes nothing: the key belongs to the record by then.
            with anyio.CancelScope(shield=True), suppress(QueueUnavailable):
                await in_thread(keys.give_up, name, held_key.token)


async def _renew(services: Services, held_key: HeldKey, hold_s: float) -> None:
    while True:
        await asyncio.sleep(hold_s / 3)
        with suppress(QueueUnavailable):
            if not await in_thread(services.job_store.keys.renew, held_key.key, held_key.token, hold_s):
                return


@contextmanager
def refusals_explained(services: Services) -> Iterator[None]:
    """Turn what is wrong with a key into the answer to the request."""
    try:
        yield
    except KeyInUseError as error:
        raise IdempotencyInProgress(
            "Another request with this Idempotency-Key is still being received.",
            hint="Send it again after the time in Retry-After.",
            headers={"Retry-After": str(services.api_settings.poll_after_s)},
        ) from error
    except KeyReusedError as error:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with other files or options.",
            hint="A new animation needs a new key; the same key is for repeating the same request.",
        ) from error
    except KeyOfRemovedError as error:
        raise Gone(
            "The animation of this Idempotency-Key was removed.",
            code="animation_expired",
            hint="For a new animation send a new key.",
        ) from error


async def earlier_animation(services: Services, earlier: EarlierRequest, fingerprint: str) -> Job:
    """The animation that the key stands for. Raises IdempotencyKeyReused or Gone."""
    with refusals_explained(services):
        if earlier.fingerprint != fingerprint:
            raise KeyReusedError
        job = await in_thread(services.job_store.get, earlier.job_id)
        if job is None:
            raise KeyOfRemovedError
    return job


def fingerprint_of(form: ReceivedForm, options: AnimationOptions) -> str:
    """What makes two requests the same: both files and every option, whatever its spelling or order.

    Of a file that a URL stands for the URL counts: to fetch it again for a repeated request may not be possible.
    """
    others = {name: text for name, text in form.fields.items() if name not in AnimationOptions.model_fields}
    hashes = [form.files[name].sha256 if name in form.files else None for name in FILE_PARTS]
    parts = [*hashes, options.model_dump(mode="json"), others]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
