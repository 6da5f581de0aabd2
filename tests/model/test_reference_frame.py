"""The driving frame most like the source, by keypoints alone."""

import torch

from model.inference.reference_frame import constellation_distances, nearest_frame
from model.networks.keypoints import Keypoints


def random_clip(frames: int) -> Keypoints:
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(frames, 10, 2, generator=generator) * 2 - 1
    return Keypoints(positions, torch.eye(2) + 0.3 * torch.randn(frames, 10, 2, 2, generator=generator))


def frame(clip: Keypoints, number: int) -> Keypoints:
    assert clip.jacobians_BK22 is not None
    return Keypoints(clip.positions_BK2[number : number + 1], clip.jacobians_BK22[number : number + 1])


def test_the_same_pose_is_found_at_another_place_and_size() -> None:
    clip = random_clip(20)
    for number in (0, 7, 19):
        same = frame(clip, number)
        assert same.jacobians_BK22 is not None
        moved = Keypoints(0.4 * same.positions_BK2 + 0.3, 0.4 * same.jacobians_BK22)
        assert nearest_frame(moved, clip) == number
        assert constellation_distances(moved, clip)[number] < 1e-9


def test_jacobians_decide_between_equal_positions() -> None:
    clip = random_clip(4)
    assert clip.jacobians_BK22 is not None
    same_places = Keypoints(clip.positions_BK2[:1].expand(4, -1, -1), clip.jacobians_BK22)
    assert nearest_frame(frame(clip, 0)._replace(jacobians_BK22=clip.jacobians_BK22[2:3]), same_places) == 2


def test_models_without_jacobians_and_frames_that_are_no_numbers() -> None:
    clip = random_clip(3)._replace(jacobians_BK22=None)
    source = Keypoints(clip.positions_BK2[1:2].clone(), None)
    clip.positions_BK2[0] = float("nan")
    assert nearest_frame(source, clip) == 1
