"""A look ahead: what it says is what the animation then does."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.web_files import SAMPLES, WebFiles
from model.inference.animator import Animator
from worker import media, pictures
from worker.engine.animation import animate_video
from worker.engine.preflight import LOOKED_AT_MOST, look_ahead, looked_at
from worker.errors import InvalidOptions
from worker.jobs import AnimationOptions
from worker.preflights import Preflight
from worker.settings import UNLIMITED


def look(source: Path, driving: Path, animator: Animator, **options: object) -> Preflight:
    return look_ahead(
        source,
        driving,
        media.probe_video(driving, UNLIMITED),
        animator,
        AnimationOptions(**options),  # pyright: ignore[reportArgumentType]
        limits=UNLIMITED,
        batch_frames=8,
    )


def pixels(found: Preflight) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found.preview.data))).convert("RGB")).astype(int)


def test_it_says_what_the_animation_does(source: Path, short_clip: Path, animator: Animator, tmp_path: Path) -> None:
    found = look(source, short_clip, animator, format="png")
    facts = media.probe_video(short_clip, UNLIMITED)
    options = AnimationOptions(format="png")
    report = animate_video(source, short_clip, facts, tmp_path, animator, options, limits=UNLIMITED, batch_frames=8)
    assert found.reference_frame == report.reference_frame
    assert found.source.crop == (*map(int, report.source_crop.split(",")),)
    assert found.driving.crop == (*map(int, report.driving_crop.split(",")),)
    assert found.warnings == report.warnings
    assert "PNG holds no sound: that of the driving video was left out." in found.warnings
    assert (found.driving.frame_count, found.driving.frame_rate, found.driving.has_audio) == (16, "25/1", True)
    assert found.estimate.frames == 16
    assert found.estimate.seconds
    assert found.estimate.frames_per_second == pytest.approx(16 / found.estimate.seconds, rel=0.1)
    frames = [pictures.load_image(path).astype(int) for path in sorted(tmp_path.glob("*.png"))]
    assert min(np.abs(pixels(found) - frame).mean() for frame in frames) < 0.2, "the preview is one of its frames"


@pytest.mark.timeout(300)
def test_no_sample_pair_is_a_poor_match(animator: Animator) -> None:
    files = WebFiles()
    levels = {
        pair["id"]: look(SAMPLES / pair["source_image"], SAMPLES / pair["driving_video"], animator).mismatch.level
        for pair in files.pairs
    }
    assert len(levels) >= 3
    assert "poor" not in levels.values(), levels


def test_faces_are_told_also_when_the_square_is_given(source: Path, short_clip: Path, animator: Animator) -> None:
    found = look(source, short_clip, animator, source_crop="10,20,200,200", driving_crop="none")
    assert (found.source.crop, found.source.subject) == ((10, 20, 200, 200), None)
    [face] = found.source.subjects
    assert 50 < face.box[0] < 100
    assert 80 < face.box[2] < 120
    with pytest.raises(InvalidOptions):
        look(source, short_clip, animator, subject=1)


def test_the_mismatch_is_small_for_the_driver_itself_and_large_upside_down(
    short_clip: Path, animator: Animator, tmp_path: Path
) -> None:
    facts = media.probe_video(short_clip, UNLIMITED)
    frame_HWC = next(iter(media.read_frames(short_clip, facts, batch_frames=16, limits=UNLIMITED)))[9]
    own, turned = tmp_path / "own.png", tmp_path / "turned.png"
    pictures.write_png(own, frame_HWC)
    pictures.write_png(turned, np.ascontiguousarray(frame_HWC[::-1, ::-1]))
    crops = {"source_crop": "none", "driving_crop": "none"}
    same, upside_down = (look(path, short_clip, animator, **crops) for path in (own, turned))
    assert same.reference_frame == 9
    assert (same.mismatch.level, same.mismatch.hint) == ("good", None)
    assert same.mismatch.score < 0.05
    assert upside_down.mismatch.level == "poor"
    assert upside_down.mismatch.hint
    elsewhere = look(own, short_clip, animator, **crops, reference_frame="0")
    assert elsewhere.mismatch.score > same.mismatch.score


def test_of_a_long_clip_some_frames_are_looked_at() -> None:
    assert list(looked_at(100, "auto")) == list(range(100))
    some = looked_at(1000, "613")
    assert len(some) <= LOOKED_AT_MOST
    assert 613 in some
    assert looked_at(3600, "first")[0] == 0
