"""Avatars as data: pairs for training, pose tracks, relative poses, clips."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import imageio_ffmpeg
import pytest
import torch

from model.data import avatars
from model.data.avatar_poses import HEAD_PARAMETERS
from model.data.avatars import (
    POSE_RANGES,
    AvatarPairs,
    AvatarPoses,
    Split,
    draw,
    relative_poses,
    rest_poses,
    sample_identities,
    sample_moments,
    sample_tracks,
    seeded_generator,
    write_clips,
)
from tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Frames this small are drawn fastest by one thread, also beside other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_step_is_the_same_whatever_came_before() -> None:
    pairs = AvatarPairs(48, 3, seed=5)
    for step in (0, 1, 7):
        pairs.batch(step)
    again, fresh = pairs.batch(3), AvatarPairs(48, 3, seed=5).batch(3)
    assert torch.equal(again.source_BCHW, fresh.source_BCHW)
    assert torch.equal(again.driving_BCHW, fresh.driving_BCHW)
    assert again.source_BCHW.shape == again.driving_BCHW.shape == (3, 3, 48, 48)


def test_steps_seeds_and_splits_differ() -> None:
    cases: list[tuple[int, Split, int]] = [(0, "train", 0), (0, "train", 1), (1, "train", 0), (0, "test", 0)]
    frames = [AvatarPairs(32, 2, seed=seed, split=split).batch(step).source_BCHW for seed, split, step in cases]
    for index, frame in enumerate(frames):
        assert all(float((frame - other).abs().mean()) > 0.05 for other in frames[:index])


def test_train_and_test_never_share_a_seed() -> None:
    train = {seeded_generator("train", seed, index).initial_seed() for seed in range(5) for index in range(500)}
    test = {seeded_generator("test", seed, index).initial_seed() for seed in range(5) for index in range(500)}
    assert train.isdisjoint(test)
    assert len(train) == len(test) == 2500
    # The generator itself keeps no more than 32 bits: they must hold the difference.
    assert max(train | test) < 2**32


def test_a_pair_is_one_avatar_in_two_poses() -> None:
    pairs = AvatarPairs(48, 24, seed=2)
    who, poses = pairs.parameters(9)
    batch = pairs.batch(9)
    source, driving = poses.select(slice(0, 24)), poses.select(slice(24, 48))
    who, again = who.select(slice(0, 24)), who.select(slice(24, 48))
    assert torch.equal(who.skin_colour_N3, again.skin_colour_N3)
    assert torch.allclose(draw(who, source, 48), batch.source_BCHW, atol=2e-3)
    assert torch.allclose(draw(who, driving, 48), batch.driving_BCHW, atol=2e-3)
    assert batch.truth_BCHW is None
    # Wide differences: that is what motion is learned from.
    assert float((source.yaw_rad - driving.yaw_rad).abs().mean()) > 0.15
    assert float((batch.source_BCHW - batch.driving_BCHW).abs().mean()) > 0.03


def test_in_expression_pairs_only_the_face_moves() -> None:
    _, poses = AvatarPairs(48, 24, seed=2, expression_pairs=1.0).parameters(9)
    source, driving = poses.select(slice(0, 24)), poses.select(slice(24, 48))
    for name in AvatarPoses._fields:
        moved = float((getattr(source, name) - getattr(driving, name)).abs().mean())
        assert moved == 0 if name in HEAD_PARAMETERS else moved > 0.01, name


def test_across_identities_the_truth_is_the_source_in_the_drivers_pose() -> None:
    pairs = AvatarPairs(32, 16, seed=2, cross_identity_pairs=0.5)
    who, poses = pairs.parameters(1)
    batch = pairs.batch(1)
    assert batch.truth_BCHW is not None
    source, driving, truth = (slice(16 * part, 16 * part + 16) for part in range(3))
    assert torch.equal(who.select(source).skin_colour_N3, who.select(truth).skin_colour_N3)
    assert torch.equal(poses.select(driving).yaw_rad, poses.select(truth).yaw_rad)
    same_B = (who.select(source).skin_colour_N3 == who.select(driving).skin_colour_N3).all(1)
    assert 3 < int(same_B.sum()) < 13
    distance_B = (batch.driving_BCHW - batch.truth_BCHW).abs().mean(dim=(1, 2, 3))
    assert float(distance_B[same_B].max()) == 0
    assert float(distance_B[~same_B].min()) > 0.02


def test_some_pairs_are_of_either_kind_and_the_others_stay_as_they_were() -> None:
    plain, mixed = AvatarPairs(48, 64, seed=2), AvatarPairs(48, 64, seed=2, expression_pairs=0.5, close_ups=0.25)
    (who, before), (same, after) = plain.parameters(1), mixed.parameters(1)
    assert torch.equal(who.skin_colour_N3, same.skin_colour_N3)
    source, driving = after.select(slice(0, 64)), after.select(slice(64, 128))
    rests_B = source.yaw_rad == driving.yaw_rad
    zoom_B = source.scale / before.scale[:64]
    near_B = zoom_B > 1
    assert 16 < int(rests_B.sum()) < 48
    assert 6 < int(near_B.sum()) < 32
    assert float(zoom_B[near_B].min()) > 1.29
    assert float(zoom_B.max()) < 2.41
    assert torch.equal(zoom_B[~near_B], torch.ones(int((~near_B).sum())))
    # Both frames of a pair are seen by one camera.
    assert torch.allclose(driving.scale[~rests_B], before.scale[64:][~rests_B] * zoom_B[~rests_B])


def test_tracks_stay_in_range_and_are_smooth() -> None:
    tracks = sample_tracks(64, 250, 25.0, torch.Generator().manual_seed(0))
    for field, limit, name in zip(tracks, POSE_RANGES, AvatarPoses._fields, strict=True):
        assert field.shape == (64, 250)
        assert float(field.min()) >= limit.low
        assert float(field.max()) <= limit.high
        if name not in ("blink_left", "blink_right", "gaze_x", "gaze_y", "mouth_open", "mouth_width"):
            share_per_frame = field.diff(dim=1).abs().amax() / (limit.high - limit.low)
            assert float(share_per_frame) < 0.2, name
    # Clips go somewhere: calm ones less, lively ones more.
    assert 0.12 < float(tracks.yaw_rad.std()) < 0.4
    assert 0.07 < float(tracks.pitch_rad.std()) < 0.25


def test_tracks_blink_and_speak_as_people_do() -> None:
    tracks = sample_tracks(64, 500, 25.0, torch.Generator().manual_seed(1))
    both = torch.minimum(tracks.blink_left, tracks.blink_right)
    starts = ((both[:, 1:] > 0.5) & (both[:, :-1] <= 0.5)).sum(1).float()
    per_minute = float(starts.mean()) * 3.0
    assert 10.0 < per_minute < 25.0
    assert float((both > 0.9).float().mean()) < 0.1
    assert 0.05 < float((tracks.mouth_open > 0.3).float().mean()) < 0.6
    # Between jumps the gaze rests.
    jumps = (tracks.gaze_x + 0.7 * tracks.yaw_rad).diff(dim=1).abs() > 0.1
    assert 0.01 < float(jumps.float().mean()) < 0.15


def test_moments_are_of_one_track() -> None:
    moments = sample_moments(256, 2, torch.Generator().manual_seed(2))
    assert moments.yaw_rad.shape == (256, 2)
    first, second = moments.scale.log().unbind(1)
    assert float(torch.corrcoef(torch.stack((first, second)))[0, 1]) > 0.15


def test_relative_poses() -> None:
    generator = torch.Generator().manual_seed(3)
    source, driving, reference = (sample_moments(9, 1, generator).flat() for _ in range(3))
    for a, b in zip(relative_poses(source, reference, reference), source, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(relative_poses(reference, driving, reference), driving, strict=True):
        torch.testing.assert_close(a, b)
    moved = relative_poses(rest_poses(9)._replace(scale=torch.full((9,), 0.8)), driving, reference)
    torch.testing.assert_close(moved.yaw_rad, (driving.yaw_rad - reference.yaw_rad).clamp(-0.9, 0.9))
    torch.testing.assert_close(moved.scale, (0.8 * driving.scale / reference.scale).clamp(0.6, 1.5))
    # One source, many driving poses.
    assert relative_poses(source.select(slice(0, 1)), driving, reference).scale.shape == (9,)


def test_a_generator_on_another_device_is_refused() -> None:
    elsewhere = Mock(spec=torch.Generator, device=torch.device("cuda"))
    with pytest.raises(ValueError, match="on the CPU"):
        sample_identities(1, elsewhere)


# The reader of imageio-ffmpeg, which only these tests use, leaves its pipes to the garbage collector.
_READER_LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@_READER_LEAKS
def test_clips_are_written_and_the_same_again(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = write_clips(
        tmp_path / "a", clips=3, frames=5, size=32, fps=12.5, clips_per_identity=2,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [path.name for path in paths] == ["id00000#000.mp4", "id00000#001.mp4", "id00001#000.mp4"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [path.name for path in paths]
    assert all(re.fullmatch(r"id\d{5}#\d{3}\.mp4", path.name) for path in paths)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    reader = imageio_ffmpeg.read_frames(str(paths[0]))
    meta = next(reader)
    frames = list(reader)
    assert meta["size"] == (32, 32)
    assert meta["fps"] == pytest.approx(12.5)
    assert len(frames) == 5
    again = write_clips(tmp_path / "b", clips=1, frames=5, size=32, fps=12.5, clips_per_identity=2)
    assert again[0].read_bytes() == paths[0].read_bytes()


@_READER_LEAKS
def test_a_clip_is_of_one_avatar_and_decodes_to_what_was_drawn(tmp_path: Path) -> None:
    path = write_clips(tmp_path, clips=1, frames=4, size=64, fps=25.0, seed=4)[0]
    reader = imageio_ffmpeg.read_frames(str(path))
    next(reader)
    decoded = [torch.frombuffer(bytearray(frame), dtype=torch.uint8).view(64, 64, 3) for frame in reader]
    who = sample_identities(1, seeded_generator("train", 4, 0))
    plain = draw(who, rest_poses(1), 64)[0].permute(1, 2, 0)
    # The corner of the background is that of the identity.
    assert float((decoded[0][:6, :6] / 255.0 - plain[:6, :6]).abs().mean()) < 0.03


def test_an_odd_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even"):
        write_clips(tmp_path, clips=1, size=33)


def test_what_is_interrupted_leaves_no_half_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(avatars, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_clips(tmp_path, clips=1, frames=2, size=32)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_for_which_there_is_no_room_is_not_kept(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: ffmpeg ends early, and the library does not say so."""
    program = (
        "import resource, sys; from pathlib import Path; from model.data.avatars import write_clips\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "write_clips(Path(sys.argv[1]), clips=1, frames=10, size=64)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "clips")]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert "of 10 frames could be written" in run.stderr
    assert list((tmp_path / "clips").iterdir()) == []
