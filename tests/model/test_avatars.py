"""Avatars as drawn: that each parameter of the pose moves what it should, and nothing else."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from model.data.avatars import (
    POSE_RANGES,
    AvatarIdentities,
    AvatarPoses,
    draw,
    rest_poses,
    sample_identities,
    sample_moments,
)

SIZE = 96


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Frames this small are drawn fastest by one thread, also beside other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def identities(count: int, seed: int = 0) -> AvatarIdentities:
    return sample_identities(count, torch.Generator().manual_seed(seed))


def plain(seed: int = 0, **fields: float) -> AvatarIdentities:
    """One bald avatar with nothing on, so that its face can be measured."""
    off = dict.fromkeys(
        ("hair", "hat_widen", "brim_size", "headphones", "top_ear_root", "frame_width", "eye_dots"), 0.0
    )
    off |= dict.fromkeys(("ornament_size", "freckle_pitch", "beard_strength", "moustache_width", "bun_size"), 0.0)
    who = identities(1, seed)
    return who._replace(**{name: torch.tensor([value]) for name, value in (off | fields).items()})


def pose(**fields: float) -> AvatarPoses:
    return rest_poses(1)._replace(**{name: torch.tensor([value]) for name, value in fields.items()})


def where_part_is(who: AvatarIdentities, at: AvatarPoses, colour: str) -> Tensor:
    """Return weights_HW of the pixels that change when a part is given another colour."""
    first, second = (
        draw(who._replace(**{colour: torch.tensor([rgb])}), at, SIZE) for rgb in ([1.0, 0, 0], [0, 0, 1.0])
    )
    return (first - second).abs().amax(1)[0]


def centre_of(weights_HW: Tensor) -> tuple[float, float]:
    x_W = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    total = weights_HW.sum()
    return float((weights_HW.sum(0) * x_W).sum() / total), float((weights_HW.sum(1) * x_W).sum() / total)


def test_every_pose_in_range_is_finite_and_in_range() -> None:
    generator = torch.Generator().manual_seed(1)
    who = identities(48)
    wild = AvatarPoses(*(low + (high - low) * torch.rand(48, generator=generator) for low, high, _ in POSE_RANGES))
    for poses in (wild, wild.select(torch.arange(48).flip(0))):
        frames = draw(who, poses, 64)
        assert frames.shape == (48, 3, 64, 64)
        assert frames.dtype == torch.float32
        assert torch.isfinite(frames).all()
        assert float(frames.min()) >= 0.0
        assert float(frames.max()) <= 1.0


def test_drawing_is_deterministic_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    first = draw(identities(6), rest_poses(6), 64)
    assert torch.equal(first, draw(identities(6), rest_poses(6), 64))
    assert torch.equal(state, torch.get_rng_state())


def test_frames_can_be_trained_on() -> None:
    frames = draw(identities(1), rest_poses(1), 32)
    weight = torch.ones(1, requires_grad=True)
    (weight * frames).square().sum().backward()
    assert weight.grad is not None


def test_a_frame_does_not_depend_on_its_neighbours() -> None:
    who, generator = identities(12, 5), torch.Generator().manual_seed(2)
    poses = sample_moments(12, 1, generator).flat()
    together = draw(who, poses, 64)
    for row in range(12):
        alone = draw(who.select(torch.tensor([row])), poses.select(torch.tensor([row])), 64)
        torch.testing.assert_close(alone[0], together[row], atol=2e-3, rtol=0)


def test_identities_and_poses_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="cannot take"):
        draw(identities(2), rest_poses(3), 32)


@pytest.mark.parametrize("size", [64, 128])
def test_edges_are_anti_aliased_alike_at_every_size(size: int) -> None:
    who, poses = identities(16, 3), rest_poses(16)
    small = draw(who, poses, size)
    averaged = torch.nn.functional.avg_pool2d(draw(who, poses, 2 * size), 2)
    assert float((small - averaged).abs().mean()) < 0.006
    # Drawing only pixel centres, without smoothing, is what this would look like.
    aliased = draw(who, poses, 2 * size)[:, :, ::2, ::2]
    assert float((small - averaged).square().mean()) < 0.3 * float((aliased - averaged).square().mean())


def test_translation_moves_the_head_by_its_pixels() -> None:
    who = plain(4)
    move_px = 9
    rest = draw(who, pose(), SIZE)[0]
    moved = draw(who, pose(translation_x=2 * move_px / SIZE, translation_y=-2 * 4 / SIZE), SIZE)[0]
    face = slice(36, 58)
    shifted = moved[:, 36 - 4 : 58 - 4, 36 + move_px : 58 + move_px]
    torch.testing.assert_close(shifted, rest[:, face, face], atol=1e-4, rtol=0)


def test_scale_and_roll_act_around_the_head() -> None:
    who = plain(4, blush_strength=0.0)
    upright = centre_of(where_part_is(who, pose(), "nose_colour_N3"))
    large = centre_of(where_part_is(who, pose(scale=1.4), "nose_colour_N3"))
    assert large[1] == pytest.approx(1.4 * upright[1], abs=0.02)
    rolled = centre_of(where_part_is(who, pose(roll_rad=0.5), "nose_colour_N3"))
    # Clockwise: what is below the centre goes to the left.
    assert rolled[0] == pytest.approx(-0.479 * upright[1], abs=0.02)
    assert rolled[1] == pytest.approx(0.878 * upright[1], abs=0.02)


@pytest.mark.parametrize("yaw", [-0.6, -0.3, 0.3, 0.6])
def test_yaw_carries_the_nose_along_and_further_than_the_eyes(yaw: float) -> None:
    who = plain(6, nose_fill=1.0)
    shifts = {}
    for colour in ("nose_colour_N3", "iris_colour_N3"):
        turned, front = (centre_of(where_part_is(who, at, colour)) for at in (pose(yaw_rad=yaw), pose()))
        shifts[colour] = turned[0] - front[0]
    sign = 1 if yaw > 0 else -1
    assert sign * shifts["nose_colour_N3"] > 0.3 * abs(yaw)
    assert sign * shifts["nose_colour_N3"] > sign * shifts["iris_colour_N3"] > 0


def test_pitch_moves_the_face_down() -> None:
    who = plain(6, nose_fill=1.0)
    up, down = (centre_of(where_part_is(who, pose(pitch_rad=p), "nose_colour_N3"))[1] for p in (-0.4, 0.4))
    assert down - up > 0.25


@pytest.mark.parametrize("yaw", [-0.7, 0.7])
def test_yaw_hides_the_far_ear_and_keeps_the_near_one(yaw: float) -> None:
    who = plain(8, earring_size=0.1, earring_drop=0.0, earring_hoop=0.0, ear_size=0.25, ear_latitude=0.0)
    front = where_part_is(who, pose(), "earring_colour_N3")
    assert float(front[:, : SIZE // 2].sum()) == pytest.approx(float(front[:, SIZE // 2 :].sum()), rel=0.05)
    turned = where_part_is(who, pose(yaw_rad=yaw), "earring_colour_N3")
    left, right = float(turned[:, : SIZE // 2].sum()), float(turned[:, SIZE // 2 :].sum())
    # A nose to the right hides the right ear.
    near, far = (left, right) if yaw > 0 else (right, left)
    assert near > 5.0
    assert far < 0.1


def test_a_blink_closes_its_own_eye() -> None:
    who = plain(6, eye_lid=0.0, pupil_size=0.4)
    open_eyes = where_part_is(who, pose(), "iris_colour_N3")
    halves = (slice(0, SIZE // 2), slice(SIZE // 2, SIZE))
    for closed, other in ((0, 1), (1, 0)):
        winking = pose(**{("blink_left", "blink_right")[closed]: 1.0})
        iris = where_part_is(who, winking, "iris_colour_N3")
        assert float(iris[:, halves[closed]].sum()) < 0.05 * float(open_eyes[:, halves[closed]].sum())
        assert torch.equal(iris[:, halves[other]], open_eyes[:, halves[other]])


def test_gaze_moves_the_irises() -> None:
    who = plain(6)
    left, right = (centre_of(where_part_is(who, pose(gaze_x=g), "iris_colour_N3"))[0] for g in (-1.0, 1.0))
    assert right - left > 0.03


def test_the_mouth_opens_and_leaves_the_upper_face_alone() -> None:
    who = plain(6, lip_upper=0.05, lip_lower=0.05)
    closed, wide = draw(who, pose(), SIZE)[0], draw(who, pose(mouth_open=1.0), SIZE)[0]
    changed_H = (closed - wide).abs().amax((0, 2))
    assert float(changed_H[: SIZE * 2 // 5].max()) < 1e-3
    assert int((changed_H > 0.2).sum()) > SIZE // 10


def test_a_smile_raises_the_corners_of_the_mouth() -> None:
    who = plain(6, lip_upper=0.05, lip_lower=0.05)
    rows_H1 = torch.arange(SIZE)[:, None]
    drops = []
    for smile in (-1.0, 1.0):
        lips = where_part_is(who, pose(smile=smile), "lip_colour_N3")
        columns = (lips.sum(0) > 0.5).nonzero()[:, 0]
        height_W = (lips * rows_H1).sum(0) / lips.sum(0).clamp(min=1e-6)
        drops.append(float(height_W[columns[len(columns) // 2]] - height_W[columns[1]]))
    assert drops[0] < -0.4
    assert drops[1] > 0.4


def test_brows_rise() -> None:
    who = plain(6, brow_thickness=0.1)
    low, high = (centre_of(where_part_is(who, pose(brow_raise=b), "brow_colour_N3"))[1] for b in (-1.0, 1.0))
    assert high < low - 0.04


def test_the_background_stays() -> None:
    who, generator = identities(24, 7), torch.Generator().manual_seed(3)
    who = who._replace(hat_heighten=torch.ones(24) * 1.05, top_ear_root=torch.zeros(24))
    rest = draw(who, rest_poses(24), 64)
    moved = draw(who, sample_moments(24, 1, generator).flat(), 64)
    # The upper corners: no head comes there.
    corner = (slice(None), slice(None), slice(0, 4), slice(0, 4))
    torch.testing.assert_close(moved[corner], rest[corner], atol=1e-5, rtol=0)


def test_no_two_avatars_look_alike() -> None:
    frames = torch.nn.functional.avg_pool2d(draw(identities(96, 11), rest_poses(96), 64), 4).flatten(1)
    distance = torch.cdist(frames, frames, p=1) / frames.shape[1]
    distance.fill_diagonal_(9.0)
    assert float(distance.min()) > 0.05
    # The heads alone, without what is around them.
    heads = torch.nn.functional.avg_pool2d(draw(identities(96, 11), rest_poses(96), 64)[:, :, 16:48, 20:44], 2).flatten(
        1
    )
    head_distance = torch.cdist(heads, heads, p=1) / heads.shape[1]
    head_distance.fill_diagonal_(9.0)
    assert float(head_distance.min()) > 0.03


def test_every_part_paints_on_the_device_it_is_given() -> None:
    # The meta device computes shapes only, and refuses to mix with tensors that were left on the CPU.
    generator = torch.Generator().manual_seed(0)
    who, poses = sample_identities(200, generator), sample_moments(200, 1, generator).flat()
    frames = draw(who, poses, 32, device="meta")
    assert frames.device.type == "meta"
    assert frames.shape == (200, 3, 32, 32)
