"""Cases, methods and reports of an evaluation, on networks with random weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model.bundle import Bundle, load_bundle, save_bundle
from model.bundle_index import Provenance
from model.config import ModelConfig
from model.data.avatars import POSE_RANGES, AvatarPoses, rest_poses, sample_moments, write_clips
from model.evaluation.avatar_cases import AvatarCases, calmest_first, can_repeat
from model.evaluation.cases import Case
from model.evaluation.clip_cases import ClipCases
from model.evaluation.detectors import Found
from model.evaluation.errors import EvaluationError
from model.evaluation.evaluate import EvaluationOptions, evaluate
from model.evaluation.methods import Method, animate, copying
from model.evaluation.picture import choose
from model.evaluation.scores import score_case, table
from model.inference.animator import Animator
from model.networks.assembly import Networks, assemble

# imageio-ffmpeg leaves its pipes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
AVATARS = EvaluationOptions(data="avatars", identities=4, frames=2, device="cpu")


class Brightness:
    """A detector that finds whatever is bright enough, and takes its mean colour for who it is."""

    facts = {"name": "brightness", "version": "1"}  # noqa: RUF012

    def find(self, frame_HWC: NDArray[np.uint8]) -> Found | None:
        weights = frame_HWC.astype(float).sum(-1)
        if weights.mean() < 3 * 60:
            return None
        places = np.array([[(weights.sum(axis) * np.arange(weights.shape[1 - axis])).sum() for axis in (0, 1)]])
        return Found(places / weights.sum(), frame_HWC.mean((0, 1)))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_clips(folder / "test", clips=2, frames=12, size=32)
    (folder / "test" / "broken.mp4").write_bytes(b"not a clip")
    return folder


@pytest.fixture
def animator(tiny_bundle: Bundle) -> Animator:
    return Animator(tiny_bundle, "cpu")


def run(bundle: Bundle, folder: Path, options: EvaluationOptions, **more: Any) -> dict[str, Any]:
    evaluate(bundle.info.directory, folder, options, **more)
    return json.loads((folder / "metrics.json").read_text())


def test_the_perfect_method_has_no_error_and_copying_is_its_own_measure() -> None:
    cases = AvatarCases(size=32, identities=3, frames=2)
    perfect = Method("perfect", lambda case: case.truth_THWC)
    scores = [score for i in range(3) for case in cases[i] for score in score_case(i, case, (copying(), perfect), None)]
    rows = table(scores)
    assert len(rows) == 6
    for row in rows:
        if row.method == "perfect":
            assert (row.l1, row.l1_to_copy, row.psnr_db) == (0, 0, 100)
            assert row.ssim == pytest.approx(1, abs=1e-6)
        else:
            assert row.l1 > 0.005
            assert (row.l1_to_copy, row.dssim_to_copy, row.psnr_gain_db) == (1, 1, 0)


def test_ratios_are_of_means_and_every_frame_counts_once() -> None:
    black, grey = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 51, np.uint8)
    long = Case("reconstruction", "long", black, None, np.stack([grey] * 3), np.stack([grey] * 3))
    short = Case("reconstruction", "short", grey, None, grey[None], grey[None])
    scores = [score for i, case in enumerate((long, short)) for score in score_case(i, case, (copying(),), None)]
    (row,) = table(scores)
    assert (row.cases, row.frames) == (2, 4)
    assert row.l1 == pytest.approx(0.2 * 3 / 4)
    assert row.l1_standard_error == pytest.approx(0.1), "of the cases' means, 0.2 and 0"
    (alone,) = table(scores[:1])
    assert alone.l1_standard_error is None, "one case does not tell how much cases differ"


def test_avatar_cases_are_the_same_each_time_and_others_with_another_seed() -> None:
    first, again, other = (AvatarCases(size=32, identities=3, frames=2, seed=seed) for seed in (1, 1, 2))
    for one, same in zip(first[2], again[2], strict=True):
        assert one.part == same.part
        np.testing.assert_array_equal(one.truth_THWC, same.truth_THWC)
    assert first.protocol == again.protocol
    assert not np.array_equal(first[0][0].truth_THWC, other[0][0].truth_THWC)


def test_what_an_avatar_case_shows() -> None:
    cases = AvatarCases(size=32, identities=3, frames=2)
    own, *crossed = cases[0]
    assert own.part == "reconstruction"
    np.testing.assert_array_equal(own.driving_THWC, own.truth_THWC)
    absolute = crossed[-1]
    assert absolute.part == "cross-identity, absolute"
    assert absolute.reference_HWC is None
    np.testing.assert_array_equal(absolute.driving_THWC, cases[1][0].driving_THWC)
    assert np.abs(absolute.driving_THWC.astype(int) - absolute.truth_THWC).mean() > 10, "another person"


def test_moments_that_cannot_be_repeated_are_left_out_and_counted() -> None:
    source = rest_poses(1)
    driver = AvatarPoses(*(field.repeat(4) for field in rest_poses(1)))
    driver = driver._replace(
        mouth_open=torch.tensor([0.5, 0.9, 0.4, 0.5]),  # a closed mouth opens by 0.4, but cannot close by 0.1
        yaw_rad=torch.tensor([-0.5, -0.5, -0.5, 0.6]),  # a turn by 1.1 is too far
    )
    sources, drivers = (AvatarPoses(*(field[None] for field in poses)) for poses in (source, driver))
    assert can_repeat(sources, drivers).tolist() == [[True, False, False]]

    cases = AvatarCases(size=32, identities=6, frames=2)
    counts = cases.protocol["relative_moments"]
    assert counts["candidates"] == 6 * 8
    assert 0 < counts["excluded_because_out_of_pose_ranges"] < counts["candidates"]
    assert str(counts["excluded_because_out_of_pose_ranges"]) in cases.notes[0]
    having = sum(any(case.part == "cross-identity, relative" for case in cases[i]) for i in range(6))
    assert having == 6 - counts["avatars_without_any"]


def test_the_calmest_moment_comes_first_and_none_is_lost() -> None:
    moments = sample_moments(20, 6, torch.Generator().manual_seed(1))
    ordered = calmest_first(moments)
    wild = ordered.mouth_open + ordered.blink_left + ordered.blink_right
    assert (wild[:, :1] <= wild).all()
    for before, after, limits in zip(moments, ordered, POSE_RANGES, strict=True):
        assert torch.equal(before.sort(1).values, after.sort(1).values), limits.unit
    rows = torch.stack((ordered.yaw_rad, ordered.pitch_rad), -1).flatten(0, 1).tolist()
    assert sorted(rows) == sorted(torch.stack((moments.yaw_rad, moments.pitch_rad), -1).flatten(0, 1).tolist())


def test_clips_are_rebuilt_from_their_first_frame(clips: Path, tmp_path: Path) -> None:
    cases = ClipCases(clips, size=32, frames=3, cache_dir=tmp_path)
    every = ClipCases(clips, size=32, frames=99, cache_dir=tmp_path)
    assert len(cases) == 2
    assert "broken.mp4" in cases.notes[0]
    ((some,), (all_of_it,)) = cases[0], every[0]
    assert len(all_of_it.driving_THWC) == 11, "all but the source"
    np.testing.assert_array_equal(some.driving_THWC, all_of_it.driving_THWC[[3, 7, 10]])
    np.testing.assert_array_equal(some.source_HWC, all_of_it.source_HWC)
    assert some.reference_HWC is None


def test_a_network_is_run_as_serving_runs_it(animator: Animator, pictures: NDArray[np.uint8]) -> None:
    source, *driving = pictures
    frames = np.stack(driving)
    absolute = animate(animator, Case("reconstruction", "", source, None, frames, frames))
    relative = animate(animator, Case("cross-identity, relative", "", source, frames[0], frames[1:], frames[1:]))
    served = dataclasses.replace(animator.config.motion_transfer, relative=True)
    expected = np.concatenate(list(animator.animate(animator.prepare(source), [frames], served)))
    assert relative.shape == (6, 32, 32, 3)
    assert np.abs(relative.astype(int) - expected[1:]).max() <= 1, "rounding only"
    assert np.abs(absolute[1:].astype(int) - relative).max() > 1


def test_without_jacobians_only_the_jacobians_go(animator: Animator, pictures: NDArray[np.uint8]) -> None:
    zeroth = animator.without_jacobians()
    assert zeroth.keypoints(pictures).jacobians_BK22 is None
    full = animator.keypoints(pictures)
    assert full.jacobians_BK22 is not None
    torch.testing.assert_close(zeroth.keypoints(pictures).positions_BK2, full.positions_BK2)
    with_them, without = (next(iter(one.animate(one.prepare(pictures[0]), [pictures]))) for one in (animator, zeroth))
    assert not np.array_equal(with_them, without)


def test_a_report_is_the_same_twice_but_for_the_time(tiny_bundle: Bundle, tmp_path: Path) -> None:
    first, second = (run(tiny_bundle, tmp_path / name, AVATARS) for name in ("first", "second"))
    assert first.pop("seconds") > 0
    assert second.pop("seconds") > 0
    assert first == second
    pictures = [(tmp_path / name / "evaluation.png").read_bytes() for name in ("first", "second")]
    assert pictures[0] == pictures[1]
    assert first["bundle"]["sha256"]["weights.safetensors"] in (tiny_bundle.info.directory / "SHA256SUMS").read_text()
    assert {row["method"] for row in first["table"]} == {"copy of the source", "tiny", "tiny, no Jacobians"}
    assert first["detector"] is None
    assert all(row["akd_px"] is None for row in first["table"])
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["evaluation.png", "metrics.json"]


def test_baselines_and_another_detector(
    tiny_bundle: Bundle, zeroth_order_config: ModelConfig, clips: Path, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    zeroth = save_bundle(tmp_path / "zeroth", assemble(zeroth_order_config), zeroth_order_config, Provenance())
    options = EvaluationOptions(data=str(clips), frames=3, device="cpu", cache_dir=tmp_path / "cache")
    folder = tiny_bundle.info.directory
    report = run(tiny_bundle, tmp_path / "out", options, baselines=[zeroth, folder], detector=Brightness())
    rows = {row["method"]: row for row in report["table"]}
    assert list(rows) == ["copy of the source", "tiny", "tiny, no Jacobians", "zeroth", "tiny (2)"]
    assert rows["tiny (2)"]["l1"] == rows["tiny"]["l1"] != rows["zeroth"]["l1"]
    of_case = [(row["case"], row["l1"], row["frames"]) for row in report["cases"] if row["method"] == "tiny"]
    assert len({name for name, _, _ in of_case}) == rows["tiny"]["cases"] == len(of_case)
    frames = sum(count for _, _, count in of_case)
    assert sum(l1 * count for _, l1, count in of_case) / frames == pytest.approx(rows["tiny"]["l1"], abs=1e-5)
    assert report["detector"]["name"] == "brightness"
    assert rows["copy of the source"]["subjects"] > 0
    assert rows["copy of the source"]["akd_to_copy"] == rows["copy of the source"]["aed_to_copy"] == 1
    assert any("broken.mp4" in note for note in report["notes"])
    assert report["tracking"] == [], "the pose of clips is not known"
    with Image.open(tmp_path / "out" / "evaluation.png") as picture:
        assert picture.size == (150 + 8 * 131, 18 + 5 * 131)

    alone = run(load_bundle(zeroth), tmp_path / "alone", options, detector=Brightness())
    assert len(alone["table"]) == 2
    assert any("zeroth-order" in note for note in alone["notes"])


def test_baselines_of_another_size_are_refused(
    tiny_bundle: Bundle, tiny_config: ModelConfig, tiny_networks: Networks, tmp_path: Path
) -> None:
    larger = save_bundle(
        tmp_path / "large", tiny_networks, dataclasses.replace(tiny_config, frame_size=64), Provenance()
    )
    with pytest.raises(EvaluationError) as refusal:
        evaluate(tiny_bundle.info.directory, tmp_path / "out", AVATARS, baselines=[larger])
    assert refusal.value.code == "baseline_size_differs"
    assert not (tmp_path / "out").exists()


def test_the_picture_shows_the_worst() -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    levels = (30, 200, 90, 5, 60)
    truth = np.stack([np.full((16, 16, 3), level, np.uint8) for level in levels])
    scores = score_case(7, Case("reconstruction", "", black, None, truth, truth), (copying(),), None)
    chosen = choose(scores, "copy of the source")
    assert [(one.why, one.frame) for one in chosen] == [
        ("best", 3), ("quartile", 0), ("median", 4), ("quartile", 2), ("worst", 1),
    ]  # fmt: skip
    assert {one.case_set_index for one in chosen} == {7}


def test_tracking_tells_position_where_keypoints_follow_it(tmp_path: Path) -> None:
    """The bundle that ships knows at least where a head is: with enough avatars the regression finds that."""
    from model.bundle_index import SHIPPED
    from model.evaluation.tracking import measure_tracking

    (tracking,) = measure_tracking([("it", Animator(load_bundle(SHIPPED / "avatars-256"), "cpu"))], identities=16)
    assert (tracking.from_positions["translation_x"] or 0) > 0.5
    assert tracking.from_positions_and_jacobians is not None
    assert tracking.from_positions_and_jacobians["translation_x"] is None, "60 features and 64 frames"
    assert (tracking.changes_from_positions["translation_x"] or 0) > 0.8


def test_changes_within_an_identity_know_nothing_of_the_identity() -> None:
    """Keypoints that follow a movement, but from another place in each head: a map of places misses it."""
    from model.evaluation.pose_regression import score
    from model.evaluation.tracking import POSES_PER_IDENTITY, within_identities

    random = torch.Generator().manual_seed(0)
    pose_N1 = torch.randn(40 * POSES_PER_IDENTITY, 1, generator=random)
    place_I1 = 3 * torch.randn(40, 1, generator=random)
    seen_N1 = pose_N1 + place_I1.repeat_interleave(POSES_PER_IDENTITY, dim=0)
    half = len(pose_N1) // 2
    (of_places,) = score(seen_N1[:half], pose_N1[:half], seen_N1[half:], pose_N1[half:])
    seen, pose = within_identities(seen_N1), within_identities(pose_N1)
    (of_changes,) = score(seen[:half], pose[:half], seen[half:], pose[half:])
    assert (of_places or 0) < 0.3
    assert (of_changes or 0) > 0.99
