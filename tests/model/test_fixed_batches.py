"""Batches of recorded sizes, with a recorder that runs everything anew: what a CUDA graph does, without CUDA."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.inference.fixed_batches import FixedBatches, Group, Recorded, tensors_of
from model.inference.places import FreePlaces, Rotation
from model.networks.keypoints import Keypoints


class Again:
    """Records by running: a replay computes from what stands in the inputs then, into the outputs of the first run."""

    def __init__(self) -> None:
        self.recorded = 0
        self.waits = 0

    def record(self, run: Callable[[], Group]) -> Recorded:
        outputs = run()
        self.recorded += 1

        def replay() -> None:
            for own, new in zip(tensors_of(outputs), tensors_of(run()), strict=True):
                own.copy_(new)

        return Recorded(replay, outputs)

    def settle(self) -> None:
        self.waits += 1


def moved(source: Keypoints, target: Keypoints) -> Keypoints:
    """Something of every row and of what all rows share; a frame of NaN stays its own trouble."""
    jacobians_BK22 = target.jacobians_BK22
    return Keypoints(
        source.positions_BK2 + 2 * target.positions_BK2, None if jacobians_BK22 is None else jacobians_BK22 * 3
    )


def keypoints(count: int, jacobians: bool = True) -> Keypoints:
    return Keypoints(torch.randn(count, 3, 2), torch.randn(count, 3, 2, 2) if jacobians else None)


def check(batches: FixedBatches, source: Keypoints, target: Keypoints) -> None:
    actual, expected = batches(source, target), moved(source, target)
    assert isinstance(actual, Keypoints)
    assert len(tensors_of(actual)) == len(tensors_of(expected))
    assert all(torch.equal(own, other) for own, other in zip(tensors_of(actual), tensors_of(expected), strict=True))


def test_a_tail_is_run_in_a_larger_recording() -> None:
    recorder = Again()
    batches, source = FixedBatches(moved, recorder), keypoints(1)
    for count in (8, 8, 3, 8, 1):
        check(batches, source, keypoints(count))
    assert recorder.recorded == 1
    check(batches, source, keypoints(9))
    assert batches.sizes == [8, 9]
    check(batches, source, keypoints(5))  # the smallest that is large enough
    assert batches.sizes == [9, 8]


def test_what_a_tail_leaves_does_not_show() -> None:
    batches, source = FixedBatches(moved, Again()), keypoints(1)
    batches(source, keypoints(4)._replace(positions_BK2=torch.full((4, 3, 2), torch.nan)))
    check(batches, source, keypoints(2))


def test_other_sources_and_other_kinds_in_turn() -> None:
    recorder = Again()
    batches, one, two = FixedBatches(moved, recorder), keypoints(1), keypoints(1)
    for source in (one, two, one, one, two):
        check(batches, source, keypoints(4))
        check(batches, source, keypoints(4, jacobians=False))
    assert recorder.recorded == 2


def test_the_recording_used_longest_ago_makes_room() -> None:
    recorder = Again()
    batches, source = FixedBatches(moved, recorder, kept=2), keypoints(1)
    for count in (2, 4, 3, 8):
        check(batches, source, keypoints(count))
    assert batches.sizes == [4, 8]
    assert recorder.waits == 1
    without = keypoints(1, jacobians=False)
    for count in (2, 3):
        check(batches, without, keypoints(count, jacobians=False))
    assert batches.sizes == [2, 3]
    assert len(batches._shared) == 1


def test_an_error_leaves_nothing_behind() -> None:
    calls = []

    def fails_once(source: Keypoints, target: Keypoints) -> Keypoints:
        calls.append(target)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory")
        return moved(source, target)

    batches, source = FixedBatches(fails_once, Again()), keypoints(1)
    with pytest.raises(RuntimeError, match="out of memory"):
        batches(source, keypoints(4))
    assert batches.sizes == []
    check(batches, source, keypoints(2))


def test_a_source_that_was_copied_half_is_copied_again() -> None:
    batches, source = FixedBatches(moved, Again()), keypoints(1)
    check(batches, source, keypoints(2))
    broken = Keypoints(torch.randn(1, 3, 2), torch.randn(1, 3, 2, 2))
    place = batches._shared[next(iter(batches._shared))].place
    assert place.jacobians_BK22 is not None
    place.jacobians_BK22.requires_grad_(True)  # no place to copy to
    with pytest.raises(RuntimeError, match="leaf"):
        batches(broken, keypoints(2))
    place.jacobians_BK22.requires_grad_(False)
    check(batches, source, keypoints(2))
    check(batches, broken, keypoints(2))


def test_rotation_makes_its_places_when_they_are_needed() -> None:
    made: list[list[int]] = []

    def make() -> list[int]:
        made.append([])
        return made[-1]

    rotation = Rotation(2, make)
    for turn in range(5):
        rotation.next().append(turn)
    assert made == [[0, 2, 4], [1, 3]]


def test_a_place_that_is_taken_is_nobody_elses() -> None:
    places: FreePlaces[Tensor] = FreePlaces(kept=2)
    large, small, third = torch.zeros(8), torch.zeros(2), torch.zeros(9)
    assert places.take(lambda _place: True) is None
    for place in (large, small):
        places.give_back(place)
    assert places.take(lambda place: len(place) >= 3) is large
    assert places.take(lambda place: len(place) >= 3) is None
    for place in (large, third):
        places.give_back(place)
    assert places.take(lambda place: len(place) == 2) is None  # three are one too many
