"""The table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from tests.chaos.ledger import Counts, Outcome, percentile

_COLUMNS = tuple(vars(Counts()))
_PERCENTS = (50, 90, 99, 100)


def line(outcome: Outcome) -> str:
    """One scenario in a few lines: its figures, its notes, what it missed."""
    if outcome.skipped:
        return f"{outcome.name}: skipped, {outcome.skipped}"
    figures = " ".join(f"{name} {value}" for name, value in vars(outcome.counts).items())
    lines = [f"{outcome.name}: {'passed' if outcome.passed else 'MISSED'} in {outcome.took_s:.0f} s", f"  {figures}"]
    if outcome.recoveries_s:
        lines.append(f"  recovery of {len(outcome.recoveries_s)} killed: {_percentiles(outcome.recoveries_s)}")
    lines += [f"  {name}: {note}" for name, note in outcome.notes.items()]
    lines += [f"  MISSED: {mark.text}" for mark in outcome.marks if not mark.passed]
    return "\n".join(lines)


def table(outcomes: Sequence[Outcome]) -> str:
    """All scenarios as a Markdown table, with the sum."""
    ran = [outcome for outcome in outcomes if not outcome.skipped]
    rows = [[outcome.name, *map(str, vars(outcome.counts).values()), *_recovery(outcome)] for outcome in ran]
    total = reduce(lambda one, other: one + other, (outcome.counts for outcome in ran), Counts())
    rows.append(["all", *map(str, vars(total).values()), "", "", ""])
    head = ["", *_COLUMNS, "p50 s", "p99 s", "verdict"]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _recovery(outcome: Outcome) -> list[str]:
    values = outcome.recoveries_s
    shown = [f"{percentile(values, percent):.1f}" if values else "" for percent in (50, 99)]
    return [*shown, "passed" if outcome.passed else "MISSED"]


def _percentiles(values: Sequence[float]) -> str:
    return ", ".join(f"p{percent} {percentile(values, percent):.1f} s" for percent in _PERCENTS)
