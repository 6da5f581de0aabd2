"""Squares of pictures: what can be asked for, and what is shown outside of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from worker import pictures
from worker.animation_options import AnimationOptions, check_reference_frame
from worker.errors import InvalidOptions
from worker.squares import Framing, Square, asked_square, centre_square, check_crop


@pytest.mark.parametrize(
    ("crop", "square"),
    [
        ("10,20,64,64", Square(10, 20, 64)),
        ("10,20,64,32", Square(10, 4, 64)),  # never squeezed: the square around the middle of the rectangle
        ("-20,-20,100,100", Square(-20, -20, 100)),
        ("180,80,40,40", Square(180, 80, 40)),
    ],
)
def test_what_was_asked_for(crop: str, square: Square) -> None:
    assert asked_square(crop, 200, 100, "source_crop") == square


@pytest.mark.parametrize("crop", ["0,0,15,64", "200,0,50,50", "0,-64,64,64", "0,0,801,801"])
def test_what_shows_nothing_is_refused(crop: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        check_crop(crop, 200, 100, "source_crop")
    assert refused.value.code == "crop_impossible"
    check_crop("auto", 200, 100, "source_crop")


@pytest.mark.parametrize("text", ["1,2,3", "a", "1,2,3,-4", "1.5,2,3,4", "automatic", "999999,0,1,1"])
def test_other_words_are_no_crop(text: str) -> None:
    with pytest.raises(ValueError, match="source_crop"):
        AnimationOptions(source_crop=text)


def test_frames_that_exist() -> None:
    for wanted in ("auto", "first", "0", "9"):
        check_reference_frame(wanted, 10)
    with pytest.raises(InvalidOptions) as refused:
        check_reference_frame("10", 10)
    assert refused.value.code == "reference_frame_missing"


def test_inside_it_is_the_picture_and_outside_its_reflection() -> None:
    picture_HWC = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    whole = pictures.framed(picture_HWC, Framing(Square(5, 5, 32), 32, 32))
    assert np.array_equal(whole, picture_HWC[5:37, 5:37])
    beyond = pictures.framed(picture_HWC, Framing(Square(-8, 20, 32), 32, 32))
    assert np.array_equal(beyond[:20, 8:], picture_HWC[20:40, :24])
    assert np.array_equal(beyond[:20, :8], picture_HWC[20:40, :8][:, ::-1])
    assert np.array_equal(beyond[20:], beyond[8:20][::-1])


def test_the_middle() -> None:
    assert centre_square(200, 100) == Square(50, 0, 100)
    assert centre_square(100, 100) == Square(0, 0, 100)
