"""Animating local files: order and number of frames, sound, progress, leaving early."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from model.inference.animator import Animator
from worker import media, pictures
from worker.engine.animation import animate_video
from worker.errors import JobCanceled, MediaRejected
from worker.jobs import AnimationOptions
from worker.settings import UNLIMITED


def write(path: Path, output: Path, source: Path, animator: Animator, options: AnimationOptions, **more: object):
    facts = media.probe_video(path, UNLIMITED)
    return animate_video(
        source,
        path,
        facts,
        output,
        animator,
        options,
        limits=UNLIMITED,
        batch_frames=4,
        **more,  # pyright: ignore
    )


def test_as_many_frames_at_the_same_rate_with_sound(
    short_clip: Path, source: Path, animator: Animator, tmp_path: Path
) -> None:
    told: list[int] = []
    report = write(short_clip, tmp_path / "out.mp4", source, animator, AnimationOptions(), on_progress=told.append)
    result = media.probe_video(tmp_path / "out.mp4", UNLIMITED)
    assert (report.frames, result.frames, report.has_audio, result.has_audio) == (16, 16, True, True)
    assert Fraction(report.fps) == Fraction(result.fps) == 25
    assert sorted(set(told)) == [0, 4, 8, 12, 16]
    assert told == sorted(told)
    silent = write(short_clip, tmp_path / "silent.mp4", source, animator, AnimationOptions(audio=False))
    assert not silent.has_audio
    assert not media.probe_video(tmp_path / "silent.mp4", UNLIMITED).has_audio


def test_lossless_frames_do_not_depend_on_the_batch(
    short_clip: Path, source: Path, animator: Animator, tmp_path: Path
) -> None:
    facts = media.probe_video(short_clip, UNLIMITED)
    sheets = []
    for batch_frames in (1, 5):
        folder = tmp_path / str(batch_frames)
        folder.mkdir()
        animate_video(
            source, short_clip, facts, folder, animator, AnimationOptions(), limits=UNLIMITED, batch_frames=batch_frames
        )
        names = sorted(path.name for path in folder.iterdir())
        assert names == [f"{number:06d}.png" for number in range(16)]
        sheets.append(np.stack([pictures.load_image(folder / name) for name in names]).astype(int))
    assert np.abs(sheets[0] - sheets[1]).max() <= 1
    movement = np.abs(sheets[0][1:] - sheets[0][:-1]).mean(axis=(1, 2, 3))
    assert movement.max() > 0.2, "the source moves"


def test_relative_motion_starts_from_the_source_itself_and_absolute_does_not(
    short_clip: Path, source: Path, animator: Animator, tmp_path: Path
) -> None:
    """In relative motion the first frame is the source reconstructed in its own pose."""
    first = {}
    for motion in ("relative", "absolute"):
        folder = tmp_path / motion
        folder.mkdir()
        options = AnimationOptions(
            motion_transfer=motion,  # pyright: ignore[reportArgumentType]
            reference_frame="first",
            source_crop="none",
            driving_crop="none",
        )
        write(short_clip, folder, source, animator, options)
        first[motion] = pictures.load_image(folder / "000000.png").astype(int)
    original = pictures.load_image(source, square_px=256).astype(int)
    errors = {motion: np.abs(frame - original).mean() for motion, frame in first.items()}
    assert errors["relative"] < 2, errors
    assert errors["absolute"] > 2 * errors["relative"], errors


def test_leaving_early_leaves_no_file(short_clip: Path, source: Path, animator: Animator, tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done >= 4:
            raise JobCanceled

    with pytest.raises(JobCanceled):
        write(short_clip, tmp_path / "out.mp4", source, animator, AnimationOptions(), on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_driving_file_that_changed_since_its_probe_is_refused(
    short_clip: Path, source: Path, animator: Animator, tmp_path: Path
) -> None:
    facts = media.probe_video(short_clip, UNLIMITED)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(short_clip.read_bytes()[: short_clip.stat().st_size // 2])
    with pytest.raises(MediaRejected):
        animate_video(
            source,
            broken,
            facts,
            tmp_path / "out.mp4",
            animator,
            AnimationOptions(),
            limits=UNLIMITED,
            batch_frames=4,
        )
    assert not (tmp_path / "out.mp4").exists()


def test_sound_that_cannot_be_decoded_is_said(
    short_clip: Path, source: Path, animator: Animator, tmp_path: Path
) -> None:
    note = "The sound (codec dts) cannot be decoded and is left out."
    facts = media.probe_video(short_clip, UNLIMITED).model_copy(update={"has_audio": False, "audio_note": note})
    for audio, warnings in ((True, (note,)), (False, ())):
        report = animate_video(
            source,
            short_clip,
            facts,
            tmp_path / f"{audio}.mp4",
            animator,
            AnimationOptions(audio=audio, driving_crop="none"),
            limits=UNLIMITED,
            batch_frames=16,
        )
        assert (report.has_audio, report.warnings) == (False, warnings)
