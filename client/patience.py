"""How long and how often to try again: exponential waits with jitter, never shorter than the service asks for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from client.errors import Unreachable

_FIRST_S, _LONGEST_S = 0.5, 30.0


class Patience:
    """Ends `total_s` seconds after the last time that something went forward."""

    def __init__(self, total_s: float, say: Callable[[str], None] = lambda _: None) -> None:
        self._total_s = total_s
        self._say = say
        self._tries = 0
        self._since_s = time.monotonic()

    def went_forward(self) -> None:
        """Something was received: what fails from now on is a new failure."""
        self._tries = 0
        self._since_s = time.monotonic()

    def wait(self, why: str, at_least_s: float = 0.0) -> None:
        """Sleep before the next try. Raises Unreachable when it would be later than patience lasts."""
        longest_s = min(_LONGEST_S, _FIRST_S * 2.0**self._tries)
        # Not all clients at the same moment. (No secret hangs on this chance.)
        wait_s = max(at_least_s, random.uniform(longest_s / 2, longest_s))  # noqa: S311
        if time.monotonic() + wait_s > self._since_s + self._total_s:
            raise Unreachable(
                f"{why} This went on for {time.monotonic() - self._since_s:.0f} s.",
                hint="The same command goes on where this one stopped.",
            )
        if self._tries == 0 or wait_s > 2:
            self._say(f"{why} Trying again in {wait_s:.0f} s." if wait_s >= 1 else f"{why} Trying again.")
        self._tries += 1
        time.sleep(wait_s)


def retry_after_s(header: str | None) -> float:
    """The seconds that a `Retry-After` asks for, as a number or a date; 0 without one that can be read."""
    if header is None:
        return 0.0
    text = header.strip()
    if text.isdigit():
        return float(text[:6])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
