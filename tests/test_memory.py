"""Memory does not grow with the length of the clip: ten minutes of 720p beside ten seconds. Takes some ten minutes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.conftest import REPOSITORY, children_of

MIB = 1024 * 1024
LIMIT_BYTES = 300 * MIB


def clip_720p(path: Path, seconds: int) -> Path:
    """A moving test picture with a tone, 1280×720, 25 frames/s."""
    subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi"),
            *("-i", f"testsrc2=size=1280x720:rate=25:duration={seconds}"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)),
        ],
        check=True,
    )
    return path


def proportional_set_bytes(pid: int) -> int:
    """Memory of a process and its descendants, shared pages counted once (PSS)."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    except OSError:
        pass  # it has just ended
    return total + sum(map(proportional_set_bytes, children_of(pid)))


def peak_bytes(driving: Path, output: Path, *options: str) -> int:
    """The highest memory of `animato animate` and its ffmpeg processes, looked at four times a second."""
    command = [sys.executable, "animato.py", "animate", "api/samples/source.png", str(driving), "-o", str(output)]
    with subprocess.Popen([*command, "--precision", "bf16", *options], cwd=REPOSITORY) as process:
        try:
            peak, ended = 0, threading.Event()
            while process.poll() is None:
                peak = max(peak, proportional_set_bytes(process.pid))
                ended.wait(0.25)
        finally:
            process.kill()
    assert process.returncode == 0
    return peak


@pytest.mark.slow
def test_ten_minutes_need_no_more_memory_than_ten_seconds(tmp_path: Path) -> None:
    short = peak_bytes(clip_720p(tmp_path / "short.mp4", 10), tmp_path / "short-out.mp4")
    long = peak_bytes(clip_720p(tmp_path / "long.mp4", 600), tmp_path / "long-out.mp4")
    print(f"peak memory in MiB: 10 s {short / MIB:.0f}, 10 min {long / MIB:.0f}, more {(long - short) / MIB:.0f}")
    assert long - short < LIMIT_BYTES


@pytest.mark.slow
def test_views_need_no_more_memory_for_a_longer_clip(tmp_path: Path) -> None:
    views = ("--views", "comparison,keypoints,flow,occlusion")
    brief, longer = (clip_720p(tmp_path / f"{seconds}.mp4", seconds) for seconds in (10, 60))
    without = peak_bytes(brief, tmp_path / "without.mp4")
    short, long = (peak_bytes(clip, tmp_path / f"{clip.stem}-out.mp4", *views) for clip in (brief, longer))
    print(f"peak memory in MiB: without views {without / MIB:.0f}, with 10 s {short / MIB:.0f}, 60 s {long / MIB:.0f}")
    assert long - short < LIMIT_BYTES
