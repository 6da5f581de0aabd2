"""Calls that wait for Redis, the storage or the disk: so many at once, and no endless line before them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

from api.errors import Unavailable

PATIENCE_S = 2.0
"""How long a request that comes waits for a thread. When Redis is frozen all threads wait for its time limit; who comes
then is told so soon, instead of standing in line for many such limits."""

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking call without stopping the other requests; it waits for a thread as long as it takes."""
    return await anyio.to_thread.run_sync(partial(call, *args, **kwargs))


async def in_thread_soon(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The same for the first call of a request, before anything was begun that would have to be finished.

    Raises `Unavailable` (`overloaded`) when no thread is free within `PATIENCE_S`; nothing was called then.
    """
    slots, slot = anyio.to_thread.current_default_thread_limiter(), object()
    with anyio.move_on_after(PATIENCE_S) as patience:
        await slots.acquire_on_behalf_of(slot)
    if patience.cancelled_caught:
        raise Unavailable(
            "All threads of this process wait for Redis or the storage.", code="overloaded", hint="Try again later."
        )
    try:
        # The place is taken already: this limiter limits nothing.
        return await anyio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=anyio.CapacityLimiter(1))
    finally:
        slots.release_on_behalf_of(slot)
