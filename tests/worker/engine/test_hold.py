"""Frames without the subject are found, held and listed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from model.inference.animator import Animator
from worker import media, pictures
from worker.engine.animation import animate_video
from worker.engine.hold import held, listed, lost_frames, thumbnails
from worker.jobs import AnimationOptions
from worker.settings import UNLIMITED


def test_blank_frames_and_frames_of_something_else() -> None:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    subject, other = coarse.repeat(8, 1).repeat(8, 2)
    frames = np.stack([subject, np.zeros_like(subject), other, np.roll(subject, 2, 0)])
    thumbs = thumbnails(frames)
    assert lost_frames(thumbs, [0]).tolist() == [False, True, True, False]
    assert lost_frames(thumbs, []).tolist() == [False, True, False, False]
    assert not lost_frames(thumbnails(np.zeros_like(frames)), []).any(), "all lost: then none is"


def test_after_a_cut_a_logo_that_stays_is_not_the_subject() -> None:
    generator = np.random.default_rng(0)
    scenes = generator.normal(0, 1, (3, 256)).astype(np.float32)
    seen, cut, other = (scenes - scenes.mean(1, keepdims=True)) / scenes.std(1, keepdims=True)
    # 0.45 is turned away in the stretches that also have 1 or 0.9, and elsewhere, with the logo, in that between cuts.
    weak, strong = 0.45 * seen + 0.9 * other, 0.9 * seen + 0.45 * other
    thumbs = np.stack([seen, weak, cut, weak, weak, cut, weak, strong]) * 40
    assert lost_frames(thumbs, [0]).tolist() == [False, False, True, True, True, True, False, False]


def test_the_last_seen_motion_is_held() -> None:
    lost = np.array([True, False, True, True, False, True])
    assert held(lost).tolist() == [1, 1, 1, 1, 4, 4]
    assert listed(lost) == "0, 2–3, 5"
    many = listed(np.arange(100) % 2 == 0)
    assert many.endswith("and 38 more places")


def test_a_black_stretch_in_a_clip(short_clip: Path, source: Path, animator: Animator, tmp_path: Path) -> None:
    facts = media.probe_video(short_clip, UNLIMITED)
    frames = next(iter(media.read_frames(short_clip, facts, batch_frames=8))).copy()
    frames[3:6] = 0
    clip, folder = tmp_path / "clip.mp4", tmp_path / "out"
    media.write_video(clip, [frames], fps=Fraction(25), width=256, height=256)
    folder.mkdir()
    facts = media.probe_video(clip, UNLIMITED)
    options = AnimationOptions(driving_crop="none", source_crop="none")
    report = animate_video(source, clip, facts, folder, animator, options, limits=UNLIMITED, batch_frames=8)
    drawn = [pictures.load_image(folder / f"{number:06d}.png").astype(int) for number in range(8)]
    assert report.frames == 8
    assert report.warnings == ("The subject was not seen in frames 3–5 of the video: the last motion was held there.",)
    assert all(np.abs(drawn[number] - drawn[2]).max() <= 1 for number in (3, 4, 5))
    assert np.abs(drawn[7] - drawn[2]).max() > 1
