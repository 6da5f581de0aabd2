"""Every format of a result: its frames, its exact timing, its sound, and a word where it cannot hold one."""

from __future__ import annotations

import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from worker import media, pictures
from worker.errors import EncodingFailed
from worker.result_formats import RESULT_FORMATS, FormatName, views_of
from worker.settings import UNLIMITED

NTSC = Fraction(30000, 1001)
SOUND = REPOSITORY / "tests" / "samples" / "driving.mp4"
COLOURS = [(230, 40, 30), (30, 200, 60), (40, 60, 220), (128, 128, 128), (250, 250, 250)]


def frames(count: int) -> np.ndarray:
    """A bar that moves over a colour that changes."""
    drawn = np.stack([np.full((66, 65, 3), COLOURS[number % len(COLOURS)], np.uint8) for number in range(count)])
    for number in range(count):
        drawn[number, :, number % 60 : number % 60 + 5] = 0
    return drawn


def write(path: Path, video_format: FormatName, count: int, fps: Fraction = NTSC) -> media.WrittenVideo:
    return media.write_video(
        path, [frames(count)], fps=fps, width=65, height=66, video_format=video_format, audio_from=SOUND
    )


@pytest.mark.parametrize("name", ["mp4", "webm"])
def test_videos_keep_rate_frames_and_sound(tmp_path: Path, name: FormatName) -> None:
    path = tmp_path / f"out{RESULT_FORMATS[name].suffix}"
    written = write(path, name, 45)
    facts = media.probe_video(path, UNLIMITED)
    assert (facts.frames, facts.fps, facts.has_audio, facts.media_type) == (
        45,
        "30000/1001",
        True,
        RESULT_FORMATS[name].media_type,
    )
    assert (written.has_audio, written.warnings) == (True, ())
    assert (written.width, written.height) == (facts.width, facts.height) == (66, 66)
    read = np.concatenate(list(media.read_frames(path, facts, batch_frames=9)))
    for number, colour in enumerate(COLOURS):
        assert np.abs(read[number, 30, 64].astype(int) - colour).max() < 12, "colours and order"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "tick_s"), [("gif", Fraction(1, 100)), ("webp", Fraction(1, 1000))])
def test_moving_pictures_are_never_off_by_more_than_a_tick(tmp_path: Path, name: FormatName, tick_s: Fraction) -> None:
    path = tmp_path / f"out{RESULT_FORMATS[name].suffix}"
    written = write(path, name, 45)
    assert not written.has_audio
    assert written.warnings == (
        f"{RESULT_FORMATS[name].label} holds no sound: that of the driving video was left out.",
    )
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (45, (65, 66), 0)  # pyright: ignore
        shown_ms = Fraction(0)
        for number in range(45):
            assert abs(shown_ms / 1000 - number / NTSC) <= tick_s, number
            image.seek(number)
            seen = np.asarray(image.convert("RGB"))[30, 64].astype(int)
            assert np.abs(seen - COLOURS[number % len(COLOURS)]).max() < 12
            shown_ms += Fraction(image.info["duration"])
    assert list(tmp_path.iterdir()) == [path]


def test_a_gif_that_players_would_slow_down_says_so(tmp_path: Path) -> None:
    assert not write(tmp_path / "a.gif", "gif", 2, Fraction(50)).warnings[1:]
    assert "slower" in write(tmp_path / "b.gif", "gif", 2, Fraction(60)).warnings[1]


def test_png_is_an_archive_of_exact_frames(tmp_path: Path) -> None:
    written = write(tmp_path / "out.zip", "png", 5)
    assert (written.frames, written.width, written.height, written.has_audio) == (5, 65, 66, False)
    assert "PNG holds no sound" in written.warnings[0]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{number:06d}.png" for number in range(5)]
        archive.extractall(tmp_path / "frames")
    read = [pictures.load_own_image(tmp_path / "frames" / f"{number:06d}.png") for number in range(5)]
    assert np.array_equal(np.stack(read), frames(5))
    write(tmp_path / "again.zip", "png", 5)
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "out.zip").read_bytes()


@pytest.mark.parametrize("name", RESULT_FORMATS)
def test_an_error_leaves_nothing(tmp_path: Path, name: FormatName) -> None:
    path = tmp_path / "out"
    with pytest.raises(EncodingFailed, match="no frames"):
        media.write_video(path, [], fps=NTSC, width=64, height=64, video_format=name)
    wrong = [np.zeros((64, 64, 3), np.uint8), np.zeros((64, 60, 3), np.uint8)]
    with pytest.raises(EncodingFailed, match="A frame is"):
        media.write_video(path, wrong, fps=NTSC, width=64, height=64, video_format=name)
    assert list(tmp_path.iterdir()) == []


def test_views_are_told_from_a_list() -> None:
    assert views_of(None) == ()
    assert views_of("occlusion,comparison,occlusion") == ("comparison", "occlusion")
