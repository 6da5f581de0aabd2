"""The Lua scripts in `lua/`: each is one atomic step. Here are the names of the keys they share, and their clock.

In front of every script stand the names below as Lua variables, then `_clock.lua` and `_record.lua`. Scripts build
their keys from those names: they need one Redis, not a cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from worker.jobs import BELLS_KEY
from worker.redis_client import PREFIX

_FOLDER = Path(__file__).with_name("lua")

JOB = f"{PREFIX}job:"
"""+ id: a hash, the record."""
QUEUED = f"{PREFIX}jobs:queued"
"""Sorted set of ids by the time they are due."""
RINGS = f"{PREFIX}jobs:rings"
"""Sorted set of the queued ids by the time their doorbell is next to be rung."""
LEASES = f"{PREFIX}jobs:leases"
"""Sorted set of the running ids by the end of their lease."""
DEADLINES = f"{PREFIX}jobs:deadlines"
"""Sorted set of the ids that are not final, by their deadline."""
EXPIRY = f"{PREFIX}jobs:expiry"
"""Sorted set of the final ids by the time their record and objects are removed."""
DEAD = f"{PREFIX}jobs:dead"
"""Sorted set of the failed ids by the time they failed; one that was retried is not in it any more."""
INDEX = f"{PREFIX}jobs:index"
"""Sorted set of the ids of all animations, by age."""
MOTIONS = f"{PREFIX}jobs:motions"
"""The same of all motion templates."""
TRASH = f"{PREFIX}jobs:trash"
"""Sorted set of removed ids whose objects are still to be deleted, by the time of their removal."""
GONE = f"{PREFIX}gone:"
"""+ id: the tombstone of an expired record, its client as value."""
CLIENT = f"{PREFIX}client:"
"""+ client + `:index`, `:motions`: its ids by age, as INDEX and MOTIONS; + `:live`: the set of those not final."""
RESERVED = f"{PREFIX}reserved:"
"""+ key: a hash, what an idempotency key stands for (`idempotency_keys`)."""
OUTBOX = f"{PREFIX}outbox:webhooks"
"""Sorted set of final ids whose end is still to be told, by the time of the next attempt."""
SPEEDS = f"{PREFIX}speeds"
"""Hash: name of a model -> frames a second, a moving average."""
COUNTS = f"{PREFIX}counts"
"""Hash of numbers that only grow: what happened so far (`job_counts` reads it)."""
DUTY = PREFIX
"""+ name of a duty: the process that has it."""

WAIT_BUCKETS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper ends of the buckets in which COUNTS has durations."""

_NAMES = {
    "JOB": JOB,
    "QUEUED": QUEUED,
    "RINGS": RINGS,
    "LEASES": LEASES,
    "DEADLINES": DEADLINES,
    "EXPIRY": EXPIRY,
    "DEAD": DEAD,
    "INDEX": INDEX,
    "MOTIONS": MOTIONS,
    "TRASH": TRASH,
    "GONE": GONE,
    "CLIENT": CLIENT,
    "RESERVED": RESERVED,
    "OUTBOX": OUTBOX,
    "SPEEDS": SPEEDS,
    "COUNTS": COUNTS,
    "DUTY": DUTY,
    "BELLS": BELLS_KEY,
}


class Scripts:
    """The scripts, ready to be called on one client. `clock` replaces the function in `_clock.lua`: for tests."""

    def __init__(self, client: redis.Redis, *, clock: str | None = None) -> None:
        names = "".join(f"local {name} = '{key}'\n" for name, key in _NAMES.items())
        names += f"local WAIT_BUCKETS = {{{', '.join(map(str, WAIT_BUCKETS_S))}}}\n"
        shared = names + (clock or _read("_clock")) + _read("_record")
        paths = [path for path in _FOLDER.glob("*.lua") if not path.name.startswith("_")]
        self._scripts = {path.stem: client.register_script(shared + path.read_text()) for path in paths}

    def __call__(self, name: str, *args: str | int) -> Any:
        """Run the script `name`."""
        return self._scripts[name](args=[str(arg) for arg in args])


def milliseconds(seconds: float) -> int:
    """As the scripts count time."""
    return round(seconds * 1000)


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text()
