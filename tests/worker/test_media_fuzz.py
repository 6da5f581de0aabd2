"""A few of the damaged files of `make fuzz`, and that the run would notice a broken promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import media_fuzz
from tests.media_fuzz import damaged, fuzz, make_seeds
from worker.jobs import ImageFacts
from worker.settings import MediaLimits


def test_damaged_files_end_in_an_answer() -> None:
    report = fuzz(108, seed=1)
    assert report.broken == []
    assert len({look.seed for look in report.looks}) == 9
    outcomes = {look.outcome for look in report.looks}
    assert {"accepted", "media_rejected", "unsupported_media_type"} <= outcomes


def test_a_copy_can_be_made_again(tmp_path: Path) -> None:
    seeds = make_seeds(tmp_path)
    assert [damaged(seeds, 5, number) for number in range(20)] == [damaged(seeds, 5, number) for number in range(20)]
    assert damaged(seeds, 5, 0)[1] != damaged(seeds, 6, 0)[1]


def test_a_broken_promise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    leaking = []

    def probe(path: Path, limits: MediaLimits) -> ImageFacts:
        leaking.append(path.open("rb"))
        raise ValueError("not a refusal")

    monkeypatch.setattr(media_fuzz, "probe_image", probe)
    broken = fuzz(1, seed=1, threads=1).broken
    leaking[0].close()
    assert len(broken) == 2
    assert "ValueError" in broken[0]
    assert "file descriptors" in broken[1]
