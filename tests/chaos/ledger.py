"""What clients asked for and what they were told; and the counting at the end: what went in must have come out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import httpx

Answer = Literal["acknowledged", "refused", "unknown"]


@dataclass(kw_only=True)
class Attempt:
    """One POST. `unknown`: the connection broke, so that nobody can say whether it was accepted."""

    source_sha256: str
    answer: Answer = "unknown"
    animation_id: str = ""
    status: int = 0
    code: str = ""
    took_s: float = 0.0


def note_answer(attempt: Attempt, response: httpx.Response) -> None:
    """Take down what the API said."""
    attempt.status = response.status_code
    if response.status_code in (200, 202):
        attempt.animation_id = response.json()["id"]
        attempt.answer = "acknowledged"
        return
    if response.headers.get("content-type") != "application/problem+json":
        attempt.code = "not_a_problem"
        return
    attempt.code = response.json()["code"]
    # Redis may have written the record and lost the answer: then the API says that it does not know.
    attempt.answer = "unknown" if response.status_code >= 500 else "refused"


class Ledger:
    """All attempts of a scenario; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: list[Attempt] = []

    def open(self, source_sha256: str) -> Attempt:
        """Note an attempt before its first byte is sent."""
        attempt = Attempt(source_sha256=source_sha256)
        with self._lock:
            self._attempts.append(attempt)
        return attempt

    @property
    def attempts(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts)

    @property
    def acknowledged_ids(self) -> set[str]:
        return {attempt.animation_id for attempt in self.attempts if attempt.answer == "acknowledged"}


@dataclass(kw_only=True)
class Counts:
    """The figures of one scenario; they can be added up."""

    attempted: int = 0
    acknowledged: int = 0
    """Promised by a 202."""
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    lost: int = 0
    """Acknowledged, and there is no record of it."""
    stuck: int = 0
    """A record that did not end within the time."""
    duplicated: int = 0
    """Animations with more than one result, or results of one request under two ids."""
    recovered: int = 0
    """Accepted although the client never got its answer; they must end as well."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One thing that must hold."""

    text: str
    passed: bool


@dataclass(kw_only=True)
class Outcome:
    """What a scenario ends with."""

    name: str
    counts: Counts = field(default_factory=Counts)
    marks: list[Mark] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    recoveries_s: list[float] = field(default_factory=list)
    """From the kill of the worker that owned an animation to its next claim or its end."""
    took_s: float = 0.0
    skipped: str = ""

    @property
    def passed(self) -> bool:
        return all(mark.passed for mark in self.marks)

    def mark(self, passed: bool, text: str) -> None:
        """Note whether `text` holds."""
        self.marks.append(Mark(text=text, passed=passed))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed; 0 when there are none."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)] if ordered else 0.0
