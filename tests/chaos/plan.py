"""What a scenario is given: its size, its dice, its folder."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.chaos.cluster import PRODUCTION, SHORT, Cluster, Times
from tests.chaos.ledger import Outcome
from tests.chaos.trial import Trial
from worker.storage import Storage

Size = Literal["small", "large"]


class Skipped(Exception):
    """This machine cannot run the scenario; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one scenario is run. The dice decide who is killed and when: the same seed, the same faults."""

    name: str
    size: Size
    seed: int
    folder: Path
    patience: float = 1.0
    """By how much the marks of time are stretched: the test suite runs beside other work."""

    @property
    def is_large(self) -> bool:
        return self.size == "large"

    def pick(self, small: Any, large: Any) -> Any:
        """The value of this size."""
        return large if self.is_large else small

    @property
    def times(self) -> Times:
        """Production's leases in the large size, short ones in the small."""
        return PRODUCTION if self.is_large else SHORT

    @contextmanager
    def trial(self, *, times: Times | None = None, watched: Storage | None = None, **cluster: Any) -> Iterator[Trial]:
        """A fresh installation with clients and a watcher (which looks into `watched`, when clients see a proxy)."""
        dice = random.Random(f"{self.seed} {self.name}")
        with (
            Cluster(self.folder, times or self.times, **cluster) as installation,
            Trial(self.name, installation, self.folder, dice, watched) as trial,
        ):
            yield trial


Scenario = Callable[[Plan], Outcome]
