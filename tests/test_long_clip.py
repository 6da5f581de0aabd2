"""Ten minutes at 29.97 frames a second: no frame is lost, none is at another time, and the sound stays where it was.

The network is tiny, so that this takes minutes; everything else is as it is for all clips.
"""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
import numpy as np
import pytest

from model.bundle import Bundle
from model.inference.animator import Animator
from tests.model.conftest import tiny_bundle, tiny_config, tiny_networks
from tests.test_main_road import SAMPLES
from worker import media
from worker.engine.animation import animate_video
from worker.jobs import AnimationOptions
from worker.settings import UNLIMITED

__all__ = ["tiny_bundle", "tiny_config", "tiny_networks"]

RATE = Fraction(30000, 1001)
FRAMES = 18_000
HEARD_HZ = 48_000
BEEP_EVERY_S = 60


class Times(NamedTuple):
    """When a file shows and sounds, in seconds from its own zero."""

    shown_s: list[Fraction]
    sound_begins_s: Fraction
    sound_ends_s: Fraction

    @property
    def frames_end_s(self) -> Fraction:
        return self.shown_s[-1] + 1 / RATE


def ffmpeg(*arguments: object) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def times_of(path: Path) -> Times:
    """From the packets of both streams, as they are in the file."""
    packets: list[list[tuple[Fraction, Fraction]]] = []
    for stream in ("0:v:0", "0:a:0"):
        lines = ffmpeg("-copyts", "-i", path, "-map", stream, "-c", "copy", "-f", "framecrc", "-").decode().splitlines()
        base = next(Fraction(line.split()[-1]) for line in lines if line.startswith("#tb"))
        fields = [line.split(",") for line in lines if not line.startswith("#")]
        packets.append(sorted((int(pts) * base, int(duration) * base) for _, _, pts, duration, *_ in fields))
    video, audio = packets
    return Times([pts for pts, _ in video], audio[0][0], sum(audio[-1], Fraction(0)))


def beeps_s(path: Path) -> np.ndarray:
    """When each beep begins, by the time stamps of the file."""
    filters = f"aresample={HEARD_HZ}:async=1:first_pts=0"
    heard = np.abs(np.frombuffer(ffmpeg("-i", path, "-vn", "-af", filters, "-ac", "1", "-f", "f32le", "-"), np.float32))
    loud = np.flatnonzero(heard > 0.1) / HEARD_HZ
    return loud[np.diff(loud, prepend=-BEEP_EVERY_S) > BEEP_EVERY_S / 2]


@pytest.mark.slow
def test_ten_minutes_lose_no_frame_and_do_not_drift(tiny_bundle: Bundle, tmp_path: Path) -> None:
    tone = f"sin(2000*PI*t)*gte(mod(t\\,{BEEP_EVERY_S})\\,1)*lt(mod(t\\,{BEEP_EVERY_S})\\,1.1)"
    clip, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    ffmpeg(
        *("-stream_loop", "-1", "-i", SAMPLES / "driving.mp4"),
        *("-f", "lavfi", "-i", f"aevalsrc={tone}:s=48000:d={float(FRAMES / RATE)}", "-map", "0:v", "-map", "1:a"),
        *("-vf", f"scale=96:96,setpts=N/({RATE}*TB)", "-r", RATE, "-frames:v", FRAMES),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", clip),
    )
    report = animate_video(
        SAMPLES / "source.png",
        clip,
        media.probe_video(clip, UNLIMITED),
        output,
        Animator(tiny_bundle),
        AnimationOptions(size=64),
        limits=UNLIMITED,
        batch_frames=32,
    )

    assert (report.frames, Fraction(report.fps), report.held_frames) == (FRAMES, RATE, ())
    before, after = times_of(clip), times_of(output)
    assert after.shown_s == [number / RATE for number in range(FRAMES)], "each at its exact time"
    assert before.shown_s == after.shown_s
    # AAC comes in blocks of 1024 samples, the first of them before the beginning.
    assert abs(after.sound_begins_s - before.sound_begins_s) < 1 / RATE
    assert abs(after.sound_ends_s - before.sound_ends_s) < 1 / RATE
    shifts_s = beeps_s(output) - beeps_s(clip)
    assert len(shifts_s) == 10
    print(
        f"sound against frames: first beep {1000 * shifts_s[0]:+.2f} ms, last {1000 * shifts_s[-1]:+.2f} ms, at most "
        f"{1000 * np.abs(shifts_s).max():.2f} ms; ends {1000 * float(after.sound_ends_s - after.frames_end_s):+.1f} ms "
        f"after the last frame, in the clip {1000 * float(before.sound_ends_s - before.frames_end_s):+.1f} ms"
    )
    assert np.abs(shifts_s).max() < 1 / RATE
