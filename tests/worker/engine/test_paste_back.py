"""The animated square in the whole picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.inference.animator import Animator
from worker import media, pictures
from worker.engine.animation import animate_video
from worker.engine.paste_back import PasteBack
from worker.jobs import AnimationOptions
from worker.settings import UNLIMITED
from worker.squares import Square


def test_the_rest_of_the_picture_is_untouched_and_there_is_no_seam() -> None:
    picture_HWC = np.full((120, 200, 3), 50, np.uint8)
    whole = PasteBack(picture_HWC, Square(40, 20, 80))(np.full((32, 32, 3), 250, np.uint8), None)
    assert whole.shape == picture_HWC.shape
    outside = np.ones((120, 200), bool)
    outside[20:100, 40:120] = False
    assert (whole[outside] == 50).all()
    assert (whole[40:80, 60:100] == 250).all()
    row = whole[60, 38:60, 0].astype(int)
    assert np.abs(np.diff(row)).max() < 90, "the edge is soft"
    assert (np.diff(row) >= 0).all()


def test_what_was_invented_at_the_edge_gives_way_to_the_picture() -> None:
    picture_HWC = np.full((120, 120, 3), 50, np.uint8)
    paste = PasteBack(picture_HWC, Square(20, 20, 80))
    frame = np.full((32, 32, 3), 250, np.uint8)
    seen, invented = (paste(frame, np.full((8, 8), level, np.float32)) for level in (1, 0))
    assert (seen[60, 30] > invented[60, 30]).all()
    assert (invented[60, 60] == 250).all()


def test_where_the_square_ends_with_the_picture_nothing_fades() -> None:
    picture_HWC = np.zeros((80, 80, 3), np.uint8)
    whole = PasteBack(picture_HWC, Square(-10, -10, 100))(np.full((32, 32, 3), 250, np.uint8), None)
    assert (whole == 250).all()


@pytest.mark.parametrize("size", [None, 64])
def test_any_size_and_shape(short_clip: Path, animator: Animator, tmp_path: Path, source: Path, size: int) -> None:
    """An odd picture comes out with even sides, a square at the size that was asked for."""
    picture_HWC = np.pad(pictures.load_image(source), ((0, 0), (50, 41), (0, 0)), mode="edge")[:255]
    pictures.write_png(tmp_path / "wide.png", picture_HWC)
    facts = media.probe_video(short_clip, UNLIMITED).model_copy(update={"frames": 16})
    options = AnimationOptions(paste_back=size is None, size=size, driving_crop="none", reference_frame="3")
    report = animate_video(
        tmp_path / "wide.png",
        short_clip,
        facts,
        tmp_path / "out.mp4",
        animator,
        options,
        limits=UNLIMITED,
        batch_frames=8,
    )
    result = media.probe_video(tmp_path / "out.mp4", UNLIMITED)
    assert (result.width, result.height) == (report.width, report.height) == ((348, 256) if size is None else (64, 64))
    assert (result.frames, result.has_audio, report.reference_frame) == (16, True, 3)
