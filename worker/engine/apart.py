"""A call that cannot be interrupted, in a thread of its own: the wait for it can be left, it goes on by itself."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def apart(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of `call`. An exception raised by a signal leaves the wait at once, not when `call` returns.

    What it logs says whose it is, as if it ran here.
    """
    outcome: Future[R] = Future()

    def run() -> None:
        try:
            outcome.set_result(call(*args, **kwargs))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=[run], name="apart", daemon=True).start()
    return outcome.result()
