"""Avatars drawn ahead: what a pool holds, and what is taken from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.avatar_pool import AvatarPool, DrawnGroups, draw_groups
from model.errors import ConfigError
from model.training.launch import Launch, launch
from tests.model.training_runs import one_thread

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def drawn() -> Iterator[DrawnGroups]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield draw_groups(range(3), 64, seed=4)
    torch.set_num_threads(threads)


def test_a_group_does_not_depend_on_the_others(drawn: DrawnGroups) -> None:
    told: list[tuple[int, int]] = []
    alone = draw_groups(range(2, 3), 64, seed=4, on_progress=lambda done, total: told.append((done, total)))
    assert torch.equal(alone.frames_GIPCHW[0], drawn.frames_GIPCHW[2])
    assert torch.equal(alone.faces_GP2[0], drawn.faces_GP2[2])
    assert told == [(2, 2)]
    assert drawn.frames_GIPCHW.shape == (3, 2, 4, 3, 64, 64)


def test_a_group_is_two_avatars_in_the_same_four_poses(drawn: DrawnGroups) -> None:
    frames_GIPCHW = drawn.frames_GIPCHW.float() / 255

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b).abs().mean())

    for group in frames_GIPCHW:
        for one in group:
            # Another face on a head that rests moves little; the head itself moves much more.
            assert 0 < apart(one[0], one[2]) < 0.6 * max(apart(one[0], one[1]), apart(one[0], one[3]))
        assert apart(group[0], group[1]) > 0.1


def find(frames_BCHW: torch.Tensor, drawn: DrawnGroups) -> list[tuple[int, int, int, bool]]:
    """Return of which group, avatar and pose each frame is, and whether it is mirrored."""
    known_NCHW = drawn.frames_GIPCHW.flatten(0, 2).float() / 255
    found = []
    for frame_CHW in frames_BCHW:
        for mirrored in (False, True):
            wanted = frame_CHW.flip(-1) if mirrored else frame_CHW
            same = ((known_NCHW - wanted).abs().amax(dim=(1, 2, 3)) < 1e-6).nonzero()[:, 0]
            if len(same):
                index = int(same[0])
                found.append((index // 8, index // 4 % 2, index % 4, mirrored))
    assert len(found) == len(frames_BCHW)
    return found


def test_pairs_of_one_avatar_and_across(drawn: DrawnGroups) -> None:
    batch = AvatarPool(drawn, 64, 64, cross_identity_pairs=0.5, expression_pairs=0.4).batch(3)
    assert batch.truth_BCHW is not None
    rows = list(
        zip(*(find(frames, drawn) for frames in (batch.source_BCHW, batch.driving_BCHW, batch.truth_BCHW)), strict=True)
    )
    for source, driving, truth in rows:
        assert source[0] == driving[0] == truth[0], "one group"
        assert source[3] == driving[3] == truth[3], "all mirrored or none"
        assert truth[1:3] == (source[1], driving[2]), "the source's avatar in the driver's pose"
        assert source[2] != driving[2]
    across = sum(source[1] != driving[1] for source, driving, _ in rows)
    faces = sum({source[2], driving[2]} == {0, 2} for source, driving, _ in rows)
    mirrored = sum(source[3] for source, *_ in rows)
    assert 16 < across < 48
    assert 12 < faces < 40
    assert 16 < mirrored < 48


def test_a_step_is_the_same_whatever_came_before(drawn: DrawnGroups) -> None:
    pool = AvatarPool(drawn, 32, 4, close_ups=0.5, expression_pairs=0.25)
    before = pool.batch(1)
    again, other = AvatarPool(drawn, 32, 4, close_ups=0.5, expression_pairs=0.25).batch(1), pool.batch(2)
    assert before.truth_BCHW is None, "of one avatar the driving frame is the truth"
    assert torch.equal(before.source_BCHW, again.source_BCHW)
    assert torch.equal(before.driving_BCHW, again.driving_BCHW)
    assert not torch.equal(before.source_BCHW, other.source_BCHW)


def test_close_ups_are_cuts_and_the_rest_is_made_smaller(drawn: DrawnGroups) -> None:
    batch = AvatarPool(drawn, 32, 8, close_ups=0.5).batch(0)
    known_NCHW = drawn.frames_GIPCHW.flatten(0, 2).float() / 255
    halved_NCHW = torch.nn.functional.avg_pool2d(known_NCHW, 2)
    windows_NCHW = known_NCHW.unfold(2, 32, 1).unfold(3, 32, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    for index, frame in enumerate(batch.source_BCHW):
        wanted = windows_NCHW if index < 4 else halved_NCHW
        nearest = min(float((wanted - seen).abs().amax(dim=(1, 2, 3)).min()) for seen in (frame, frame.flip(-1)))
        assert nearest < 1e-6


@pytest.mark.parametrize(("size", "close_ups"), [(48, 0.0), (64, 0.5), (128, 0.0)])
def test_sizes_that_do_not_go_together_are_refused(drawn: DrawnGroups, size: int, close_ups: float) -> None:
    with pytest.raises(ConfigError) as refusal:
        AvatarPool(drawn, size, 2, close_ups=close_ups)
    assert refusal.value.code == "config_invalid"


def test_a_run_draws_its_pool_first(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    changes: dict[str, Any] = {"num_steps": 1, "batch_size": 2, "device": "cpu", "avatar_pool": 4, "precision": "fp32"}
    changes |= {"keypoint_precision": "fp32", "num_workers": 1}
    wanted = Launch(output=tmp_path / "run", preset="avatars-64", changes=tuple(changes.items()))
    config, checkpoint = launch(wanted, on_pool=lambda done, total: told.append((done, total)))
    assert told == [(4, 4)]
    assert checkpoint.exists()
    assert config.num_workers == 0, "nobody draws ahead what is drawn already"
