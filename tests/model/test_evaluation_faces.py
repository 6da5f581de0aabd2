"""The face detector on real faces."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.bundle_index import SHIPPED
from model.data.clips import ClipSet
from model.evaluation.detectors import Found, average, compare
from model.evaluation.errors import EvaluationError
from model.evaluation.evaluate import EvaluationOptions, evaluate
from model.evaluation.faces import DlibFaces

# imageio-ffmpeg leaves its pipes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
pytest.importorskip("dlib")
PEOPLE = ("grid-sbia1a#", "lp-d19#", "lp-d6#")


@pytest.fixture(scope="module")
def detector() -> DlibFaces:
    return DlibFaces()


@pytest.fixture(scope="module")
def people(media_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.uint8]]:
    """The first and a later frame of three people."""
    if not (media_dir / "clips128").is_dir():
        pytest.skip("the sample media have no clips128")
    clips = ClipSet(media_dir / "clips128", frame_size=128, cache_dir=tmp_path_factory.mktemp("cache"))
    found = [clip for clip in clips if Path(clip.name).name.startswith(PEOPLE)]
    assert len(found) == len(PEOPLE)
    return [np.stack((clip.frames_THWC[0], clip.frames_THWC[len(clip.frames_THWC) // 2])) for clip in found]


@pytest.fixture(scope="module")
def faces(detector: DlibFaces, people: list[NDArray[np.uint8]]) -> list[list[Found | None]]:
    return [[detector.find(frame) for frame in frames] for frames in people]


def test_a_face_is_found_and_its_landmarks_lie_on_it(faces: list[list[Found | None]]) -> None:
    for found in (face for person in faces for face in person):
        assert found is not None
        assert found.landmarks_P2.shape == (68, 2)
        assert ((found.landmarks_P2 > 0) & (found.landmarks_P2 < 128)).all()
        eyes, mouth = found.landmarks_P2[36:48].mean(0), found.landmarks_P2[48:].mean(0)
        assert 10 < mouth[1] - eyes[1] < 60
        assert found.embedding_E is not None
        assert found.embedding_E.shape == (128,)


def test_the_same_frame_does_not_differ_and_another_person_does(
    detector: DlibFaces, people: list[NDArray[np.uint8]], faces: list[list[Found | None]]
) -> None:
    assert average([compare(faces[0][0], detector.find(people[0][0]))]) == (0.0, 0.0, 0.0)
    same = average(compare(*person) for person in faces)
    others = average(compare(faces[i][0], faces[(i + 1) % 3][0]) for i in range(3))
    assert same.aed is not None
    assert others.aed is not None
    assert same.aed < 0.5, "below dlib's own limit for one person, 0.6"
    assert others.aed > 0.6


def test_landmarks_move_with_the_picture(detector: DlibFaces, people: list[NDArray[np.uint8]]) -> None:
    frame = people[1][0]
    before, after = detector.find(frame), detector.find(np.roll(frame, (4, -3), (0, 1)))
    assert before is not None
    assert after is not None
    assert (after.landmarks_P2 - before.landmarks_P2).mean(0) == pytest.approx([-3, 4], abs=0.6)


def test_landmarks_are_in_pixels_of_the_frame_that_was_given(
    detector: DlibFaces, people: list[NDArray[np.uint8]]
) -> None:
    frame = people[2][0]
    small, large = detector.find(frame), detector.find(frame.repeat(4, 0).repeat(4, 1))
    assert small is not None
    assert large is not None
    assert ((large.landmarks_P2 + 0.5) / 4 - 0.5 - small.landmarks_P2).mean(0) == pytest.approx([0, 0], abs=0.6)


def test_no_face_is_none(detector: DlibFaces) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert detector.find(noise) is None


@pytest.mark.parametrize("package", ["dlib", "face_recognition_models"])
def test_without_the_extra_it_is_said(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself writes for a package that cannot be imported
    with pytest.raises(EvaluationError) as refusal:
        DlibFaces()
    assert refusal.value.code == "evaluate_extra_missing"
    assert "animato[evaluate]" in refusal.value.hint
    options = EvaluationOptions(data="avatars", identities=2, frames=1, detector="faces")
    with pytest.raises(EvaluationError) as refusal:
        evaluate(SHIPPED / "avatars-256", tmp_path / "out", options)
    assert refusal.value.code == "evaluate_extra_missing"
    assert not (tmp_path / "out").exists()
