"""Finding the subject: drawn heads, at known places in larger pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from worker import media, pictures
from worker.engine.crop import cut_driving, cut_source, face_square
from worker.engine.subjects import Box, find_faces, find_faces_of_each, follow_faces, looked_at_size
from worker.errors import InvalidOptions
from worker.settings import UNLIMITED
from worker.squares import Square


@pytest.fixture(scope="module")
def head(source: Path) -> np.ndarray:
    """A head that the detector finds."""
    return pictures.load_image(source)


def scene(width: int, height: int, *heads: tuple[np.ndarray, int, int, int]) -> np.ndarray:
    """Heads on a plain ground: picture, left, top and side of each."""
    picture_HWC = np.full((height, width, 3), 90, np.uint8)
    for head_HWC, left, top, side in heads:
        picture_HWC[top : top + side, left : left + side] = pictures.resized(head_HWC, side, side)
    return picture_HWC


def middle(square: Square) -> tuple[float, float]:
    return square.left + square.side / 2, square.top + square.side / 2


def test_the_largest_face_first_and_the_next_by_its_number(head: np.ndarray) -> None:
    picture_HWC = scene(900, 500, (head, 20, 60, 256), (head, 480, 40, 400))
    large, small = (cut_source(picture_HWC, "auto", subject, faces=True) for subject in (0, 1))
    assert middle(large.square) == pytest.approx((680, 240), abs=60)
    assert middle(small.square) == pytest.approx((148, 188), abs=40)
    assert large.square.side > small.square.side
    assert large.warnings == ()
    with pytest.raises(InvalidOptions) as missing:
        cut_source(picture_HWC, "auto", 2, faces=True)
    assert missing.value.code == "subject_not_found"


def test_what_is_hardly_a_face_counts_only_by_itself(head: np.ndarray) -> None:
    import dlib

    detector = dlib.get_frontal_face_detector()  # pyright: ignore[reportAttributeAccessIssue]
    cut_off = head.copy()
    cut_off[138:] = 90
    doubtful, clear = scene(480, 480, (cut_off, 0, 0, 480)), scene(480, 480, (head, 0, 0, 480))
    assert len(find_faces(doubtful)) == 1
    both = np.concatenate([doubtful, clear], 1)
    assert len(detector(both, 0)) == 2, "the detector itself takes both for faces"
    (found,) = find_faces(both)
    assert found.left > 480


def test_several_pictures_at_once_are_searched_as_one_by_one(head: np.ndarray) -> None:
    heads = [((head, 20 * number, 10, 256),) * (number % 4 != 3) for number in range(16)]
    pictures_of_heads = [scene(640, 480, *each) for each in heads]
    found = find_faces_of_each(pictures_of_heads)
    assert found == [find_faces(each) for each in pictures_of_heads]
    assert [len(boxes) for boxes in found] == [1, 1, 1, 0] * 4


def test_without_a_face_what_stands_out(head: np.ndarray) -> None:
    ground = np.full((200, 600, 3), 200, np.uint8)
    ground[60:150, 420:520] = np.random.default_rng(0).integers(0, 255, (90, 100, 3), dtype=np.uint8)
    cut = cut_source(ground, "auto", 0, faces=True)
    assert middle(cut.square)[0] == pytest.approx(470, abs=60)
    assert "No face" in cut.warnings[0]
    assert cut_source(ground, "none", 0, faces=True).square == Square(200, 0, 200)
    assert cut_source(ground, "auto", 0, faces=False).warnings == (), "a model of bodies needs no face"


def test_a_square_picture_without_a_face_is_taken_as_it_is() -> None:
    cut = cut_source(np.full((128, 128, 3), 7, np.uint8), "auto", 0, faces=True)
    assert cut.square == Square(0, 0, 128)
    assert "middle" in cut.warnings[0]


def test_one_square_for_all_frames_of_a_clip(head: np.ndarray, tmp_path: Path) -> None:
    places = [100, 140, 180, 220]
    frames = [scene(640, 360, (head, left, 40, 256)) for left in places]
    media.write_video(tmp_path / "clip.mp4", frames, fps=Fraction(25), width=640, height=360)
    facts = media.probe_video(tmp_path / "clip.mp4", UNLIMITED)
    cut = cut_driving(tmp_path / "clip.mp4", facts, "auto", 0, faces=True, limits=UNLIMITED)
    assert cut.seen_at == (0, 1, 2, 3)
    for left, frame in zip(places, frames, strict=True):
        height, width = frame.shape[:2]
        face = find_faces(pictures.resized(frame, *looked_at_size(width, height)))[0].scaled(width / 960)
        assert cut.square.left <= face.left < face.right <= cut.square.left + cut.square.side, left
    assert cut.square.side >= 256 * 0.6


def test_a_clip_without_a_face_follows_what_moves(tmp_path: Path) -> None:
    frames = [np.full((128, 400, 3), 40, np.uint8) for _ in range(8)]
    for number, frame in enumerate(frames):
        frame[40:90, 290 + 4 * number : 330 + 4 * number] = 250
    media.write_video(tmp_path / "clip.mp4", frames, fps=Fraction(25), width=400, height=128)
    facts = media.probe_video(tmp_path / "clip.mp4", UNLIMITED)
    cut = cut_driving(tmp_path / "clip.mp4", facts, "auto", 0, faces=True, limits=UNLIMITED)
    assert middle(cut.square)[0] == pytest.approx(324, abs=30)
    assert cut.seen_at == ()


def test_people_keep_their_numbers_over_the_frames() -> None:
    small, large = Box(0, 0, 10, 10), Box(50, 0, 80, 30)
    people = follow_faces([[large, small], [small], [large, Box(2, 0, 12, 10)]])
    assert [[box and box.left for box in person] for person in people] == [[50, None, 50], [0, 0, 2]]


def test_a_face_at_the_edge_reaches_outside_no_more_than_it_must() -> None:
    inside = face_square([Box(100, 100, 200, 200)], 640, 480)
    assert inside.is_inside(640, 480)
    edge = face_square([Box(0, 100, 100, 200)], 640, 480)
    assert edge.left < 0 < edge.left + edge.side / 2
    huge = face_square([Box(20, 20, 240, 240)], 256, 256)
    assert huge.side >= 220 * 1.6
