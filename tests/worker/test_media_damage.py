"""Damaged frames in the middle of a clip keep their places; what is damaged beyond that is refused."""

from __future__ import annotations

import random
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from tests.worker.engine.copying_animator import CopyingAnimator
from worker import media
from worker.engine.animation import animate_video
from worker.errors import MediaRejected
from worker.jobs import AnimationOptions
from worker.media_damage import DamageNotes, Repaired, repair
from worker.settings import UNLIMITED

NTSC = Fraction(30000, 1001)
MILLISECOND = Fraction(1, 1000)


def ffmpeg(*arguments: str | Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames at 29.97 a second, one in ten a key frame, with a tone."""
    path = tmp_path_factory.mktemp("clip") / "whole.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=128x128:rate=30000/1001:duration=2.002"),
        *("-f", "lavfi", "-i", "sine=duration=2", "-c:v", "libx264", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"),
        *("-c:a", "aac", path),
    )
    return path


def damaged(clip: Path, target: Path, *frames: int) -> Path:
    """The clip with noise in place of some frames' packets."""
    listed = ffmpeg("-i", clip, "-map", "0", "-c", "copy", "-f", "framecrc", "-")
    packets = [(int(stream), int(size)) for stream, size in re.findall(r"(?m)^(\d+),.*?,.*?,.*?, *(\d+),", listed)]
    content = bytearray(clip.read_bytes())
    # `mdat` holds the packets one after the other, in the order in which they are read.
    at, number, noise = content.index(b"mdat") + 4, 0, random.Random(1)
    for stream, size in packets:
        if stream == 0:
            if number in frames:
                content[at : at + size] = noise.randbytes(size)
            number += 1
        at += size
    target.write_bytes(content)
    return target


def read(path: Path) -> np.ndarray:
    facts = media.probe_video(path, UNLIMITED)
    return np.concatenate(list(media.read_frames(path, facts, batch_frames=7))).astype(int)


def test_places_rate_and_sound_stay(clip: Path, tmp_path: Path) -> None:
    broken = damaged(clip, tmp_path / "broken.mp4", 23, 24, 41)
    whole, facts = media.probe_video(clip, UNLIMITED), media.probe_video(broken, UNLIMITED)
    assert facts.damaged_frames == ((23, 24), (41, 41))
    assert (facts.frames, facts.fps, facts.has_audio) == (whole.frames, whole.fps, True) == (60, "30000/1001", True)
    assert not facts.variable_frame_rate
    wanted, shown = read(clip), read(broken)
    assert len(shown) == 60
    for number in (*range(23), *range(30, 41), *range(50, 60)):
        assert np.array_equal(shown[number], wanted[number]), "a frame at another place"


def test_the_last_motion_is_held_and_told(clip: Path, tmp_path: Path) -> None:
    broken = damaged(clip, tmp_path / "broken.mp4", 23, 24, 41)
    source = Path(__file__).resolve().parents[2] / "api" / "samples" / "source.png"
    report = animate_video(
        source,
        broken,
        media.probe_video(broken, UNLIMITED),
        tmp_path / "out.mp4",
        CopyingAnimator(),  # pyright: ignore[reportArgumentType]
        AnimationOptions(driving_crop="none"),
        limits=UNLIMITED,
        batch_frames=8,
    )
    assert report.held_frames == ((23, 24), (41, 41))
    assert report.warnings[-1] == (
        "Nothing could be decoded in frames 23–24, 41 of the video: the last motion was held there."
    )
    assert (report.frames, report.fps, report.has_audio) == (60, "30000/1001", True)
    shown = read(tmp_path / "out.mp4")
    still = np.abs(np.diff(shown, axis=0)).mean((1, 2, 3))
    assert max(still[22], still[23], still[40]) < 0.5 * np.median(still), "each looks like the one before"


@pytest.mark.parametrize("frames", [(0,), (59,), tuple(range(12, 50))], ids=["first", "last", "most"])
def test_what_is_damaged_beyond_that(clip: Path, tmp_path: Path, frames: tuple[int, ...]) -> None:
    with pytest.raises(MediaRejected) as refused:
        media.probe_video(damaged(clip, tmp_path / "broken.mp4", *frames), UNLIMITED)
    assert refused.value.code == "media_rejected"


def at_ntsc(numbers: list[int]) -> list[int]:
    """When these frames are shown, in the milliseconds of Matroska."""
    return [round(number * 1000 / NTSC) for number in numbers]


def test_ten_minutes_with_holes_do_not_drift() -> None:
    """The packets themselves are gone, in long stretches too: the rate alone says how many there were."""
    lost = {number for start in range(100, 17_900, 900) for number in range(start, start + 1 + start % 7)}
    ticks = at_ntsc([number for number in range(17_982) if number not in lost])
    found = repair(ticks, DamageNotes(packets=set(ticks)), 33, MILLISECOND, Fraction(30))
    assert found is not None
    assert (found.fps, found.frames, found.variable) == (NTSC, 17_982, False)
    assert {number for first, last in found.damaged for number in range(first, last + 1)} == lost


def test_frames_that_say_they_are_corrupt_and_packets_that_give_none() -> None:
    ticks = at_ntsc(list(range(40)))
    notes = DamageNotes(packets=set(ticks), corrupt={ticks[5]})
    assert repair([*ticks[:9], *ticks[11:]], notes, 33, MILLISECOND, NTSC) == Repaired(
        NTSC, 40, ((5, 5), (9, 10)), False
    )


def test_a_changing_rate_keeps_its_times() -> None:
    steps = [40, 40, 120, 40, 80, 40, 200, 40, 40, 40, 66, 40]
    ticks = np.cumsum([0, *steps]).tolist()
    found = repair(ticks, DamageNotes(packets=set(ticks), corrupt={ticks[3]}), 40, MILLISECOND, None)
    assert found is not None
    assert (found.fps, found.damaged) == (Fraction(25), ((5, 5),))
    assert found.frames == round(sum(steps) / 40) + 1


@pytest.mark.parametrize(
    "notes",
    [
        DamageNotes(cut_short=True),
        DamageNotes(claimed_s=20.0),
        DamageNotes(corrupt=set(at_ntsc([0]))),
        DamageNotes(corrupt=set(at_ntsc(list(range(1, 50))))),
        DamageNotes(),
    ],
    ids=["cut", "shorter than it says", "first", "most", "no frame"],
)
def test_too_little_is_left(notes: DamageNotes) -> None:
    assert repair(at_ntsc(list(range(60))), notes, 33, MILLISECOND, NTSC) is None


def test_the_log_is_read_in_its_order() -> None:
    notes = DamageNotes()
    decoder = "[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] "
    for line in (
        "[info]   Duration: 00:01:04.88, start: 0.000000, bitrate: 640 kb/s",
        "[vist#0:0/h264 @ 0x1] [info] demuxer+ffmpeg -> ist_index:0:0 type:video pkt_pts:512 pkt_pts_time:0.04 x",
        "[vist#0:0/h264 @ 0x1] [info] demuxer+ffmpeg -> ist_index:0:0 type:video pkt_pts:NOPTS pkt_pts_time:NOPTS x",
        f"{decoder}[info] decoder -> pts:0 pts_time:0 pkt_dts:0",
        f"{decoder}[warning] corrupt decoded frame",
        f"{decoder}[info] decoder -> pts:512 pts_time:0.04 pkt_dts:512",
        f"{decoder}[info] decoder -> pts:1024 pts_time:0.08 pkt_dts:1024",
    ):
        notes.take(line)
    assert (notes.packets, notes.corrupt, notes.cut_short, notes.claimed_s) == ({512}, {512}, False, 64.88)
    notes.take("[in#0/mov,mp4 @ 0x1] [error] stream 0, offset 0x30: partial file")
    assert notes.cut_short
