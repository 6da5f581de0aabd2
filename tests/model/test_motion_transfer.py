import math

import pytest
import torch
from torch import Tensor

from model.config import MotionTransferOptions
from model.inference.motion_transfer import convex_hull_area, motion_reference, movement_scale, transfer_motion
from model.networks.keypoints import Keypoints

ABSOLUTE = MotionTransferOptions(relative=False)
RELATIVE = MotionTransferOptions()


def matrices(keypoints: Keypoints) -> Tensor:
    assert keypoints.jacobians_BK22 is not None
    return keypoints.jacobians_BK22


def some_keypoints(batch: int, seed: int) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    return Keypoints(
        torch.rand(batch, 6, 2, generator=generator) * 2 - 1, torch.randn(batch, 6, 2, 2, generator=generator)
    )


@pytest.mark.parametrize("adapt_scale", [True, False])
def test_no_motion_gives_the_source(adapt_scale: bool) -> None:
    source, initial = some_keypoints(1, 1), some_keypoints(1, 2)
    options = MotionTransferOptions(adapt_scale=adapt_scale)
    target = transfer_motion(initial, motion_reference(source, initial, options), options)
    assert torch.allclose(target.positions_BK2, source.positions_BK2, atol=1e-6)
    assert torch.allclose(matrices(target), matrices(source), atol=1e-4)


def test_absolute_motion_is_the_driver() -> None:
    source, driving = some_keypoints(1, 1), some_keypoints(3, 2)
    assert transfer_motion(driving, motion_reference(source, some_keypoints(1, 3), ABSOLUTE), ABSOLUTE) is driving


def test_relative_motion_adds_what_the_driver_moved() -> None:
    source, initial = some_keypoints(1, 1), some_keypoints(1, 2)
    driving = initial._replace(positions_BK2=initial.positions_BK2 + torch.tensor([0.1, -0.2]))
    target = transfer_motion(driving, motion_reference(source, initial, RELATIVE), RELATIVE)
    assert torch.allclose(target.positions_BK2, source.positions_BK2 + torch.tensor([0.1, -0.2]), atol=1e-6)


def test_relative_positions_alone_keep_the_drivers_jacobians() -> None:
    options = MotionTransferOptions(relative_jacobian=False)
    driving = some_keypoints(3, 4)
    target = transfer_motion(driving, motion_reference(some_keypoints(1, 1), some_keypoints(1, 2), options), options)
    assert target.jacobians_BK22 is driving.jacobians_BK22


def test_a_source_twice_as_large_moves_twice_as_far() -> None:
    initial = some_keypoints(1, 2)
    source = initial._replace(positions_BK2=initial.positions_BK2 * 2)
    options = MotionTransferOptions(adapt_scale=True)
    driving = initial._replace(positions_BK2=initial.positions_BK2 + 0.1)
    target = transfer_motion(driving, motion_reference(source, initial, options), options)
    assert torch.allclose(target.positions_BK2, source.positions_BK2 + 0.2, atol=1e-5)


def test_batch_equals_single_frames() -> None:
    driving, options = some_keypoints(5, 3), MotionTransferOptions(adapt_scale=True)
    reference = motion_reference(some_keypoints(1, 1), some_keypoints(1, 2), options)
    together = transfer_motion(driving, reference, options)
    for i in range(5):
        frame = Keypoints(driving.positions_BK2[i : i + 1], matrices(driving)[i : i + 1])
        single = transfer_motion(frame, reference, options)
        assert torch.equal(single.positions_BK2[0], together.positions_BK2[i])
        assert torch.equal(matrices(single)[0], matrices(together)[i])


def test_singular_initial_jacobian_keeps_the_sources() -> None:
    source, initial, driving = some_keypoints(1, 1), some_keypoints(1, 2), some_keypoints(2, 3)
    matrices(initial)[0, 4] = torch.tensor([[0.5, 1.0], [1.0, 2.0]])
    target = transfer_motion(driving, motion_reference(source, initial, RELATIVE), RELATIVE)
    assert torch.isfinite(matrices(target)).all()
    assert torch.equal(matrices(target)[0, 4], matrices(source)[0, 4])
    assert not torch.allclose(matrices(target)[0, 3], matrices(source)[0, 3])


def test_zeroth_order_has_no_jacobians() -> None:
    source, driving = (some_keypoints(n, n)._replace(jacobians_BK22=None) for n in (1, 3))
    first = Keypoints(driving.positions_BK2[:1], None)
    assert transfer_motion(driving, motion_reference(source, first, RELATIVE), RELATIVE).jacobians_BK22 is None


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[0, 0], [1, 0], [1, 1], [0, 1]], 1),
        ([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5], [0.5, 0.0], [1, 1]], 1),
        ([[0, 0], [2, 0], [0, 1]], 1),
        ([[math.cos(i), math.sin(i)] for i in range(1000)], math.pi),
        ([[0, 0], [1, 1], [2, 2]], 0),
        ([[1, 1], [1, 1], [1, 1]], 0),
        ([[1, 1]], 0),
    ],
)
def test_convex_hull_area(points: list[list[float]], area: float) -> None:
    assert convex_hull_area(points) == pytest.approx(area, abs=1e-3)


@pytest.mark.parametrize("swap", [True, False])
def test_a_hull_without_area_does_not_scale(swap: bool) -> None:
    line = Keypoints(torch.linspace(-1, 1, 5)[:, None].expand(1, 5, 2), None)
    normal = Keypoints(torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0)), None)
    assert movement_scale(*((line, normal) if swap else (normal, line))) == 1.0
