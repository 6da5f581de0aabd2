"""Alarms: what stops a run, and what does not."""

from __future__ import annotations

import pytest

from model.training.alarms import Alarms
from model.training.errors import TrainingStopped


def feed(alarms: Alarms, totals: list[float], *, spread: float = 0.3, first_step: int = 2000) -> None:
    for index, total in enumerate(totals):
        alarms.check(first_step + index, {"l1": total, "total": total}, spread)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number(value: float) -> None:
    with pytest.raises(TrainingStopped, match="l1") as stop:
        feed(Alarms(), [1.0, value])
    assert stop.value.code == "loss_not_finite"


def test_a_loss_that_rises_and_stays() -> None:
    alarms = Alarms()
    feed(alarms, [10.0] * 30 + [100.0] * 19)
    with pytest.raises(TrainingStopped) as stop:
        feed(alarms, [100.0])
    assert stop.value.code == "loss_diverged"
    assert "init_from" in stop.value.hint, "a resumed run cannot have another learning rate"


def test_a_loss_that_comes_back() -> None:
    feed(Alarms(), ([10.0] * 30 + [100.0] * 15) * 4)


def test_the_first_losses_are_not_compared() -> None:
    feed(Alarms(), [1.0] * 5 + [100.0] * 50)


def test_keypoints_in_one_place() -> None:
    alarms = Alarms()
    with pytest.raises(TrainingStopped) as stop:
        feed(alarms, [1.0] * 20, spread=0.001)
    assert stop.value.code == "keypoints_collapsed"


def test_fresh_keypoints_may_be_in_one_place() -> None:
    feed(Alarms(), [1.0] * 100, spread=0.001, first_step=1)


def test_memory_survives_a_resume() -> None:
    alarms, resumed = Alarms(), Alarms()
    feed(alarms, [10.0] * 30 + [100.0] * 19)
    resumed.restore(alarms.state())
    with pytest.raises(TrainingStopped):
        feed(resumed, [100.0])
