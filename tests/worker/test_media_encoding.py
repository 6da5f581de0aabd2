"""Writing the result: frames, rate, colours, sound, and nothing left behind by errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from tests.conftest import decoding_children, wait_until
from worker import media_encoding, media_header, media_process
from worker.errors import EncodingFailed
from worker.media import probe_video, read_frames, write_video
from worker.settings import MediaLimits

LIMITS = MediaLimits()


def ffmpeg(*arguments: str | Path) -> str:
    """Runs the bundled ffmpeg without any guard and returns its log."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, timeout=60, cwd="/", capture_output=True, text=True).stderr


def still(frames: int, width: int = 96, height: int = 80) -> Iterator[np.ndarray]:
    """Batches of changing grey."""
    for index in range(frames):
        yield np.full((1, height, width, 3), index * 3 % 256, np.uint8)


def sound(path: Path, *options: str, frequency: str = "440", seconds: float = 2, delay_s: float = 0) -> Path:
    """A clip with a tone that begins `delay_s` after the picture."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=s=96x80:r=25:d={seconds}"),
        *("-itsoffset", str(delay_s), "-f", "lavfi", "-i", f"sine=f={frequency}:d={seconds}", *options, path),
    )
    return path


def heard(path: Path) -> np.ndarray:
    """The sound of a file as numbers at 8 kHz."""
    raw = path.with_suffix(".raw")
    ffmpeg("-i", path, "-map", "0:a:0", "-ac", "1", "-ar", "8000", "-af", "aresample=first_pts=0", "-f", "s16le", raw)
    return np.fromfile(raw, np.int16)


def write(path: Path, frames: int, audio_from: Path | None = None, fps: Fraction = Fraction(25)):
    """Grey frames with the sound of a clip."""
    return write_video(path, still(frames), fps=fps, width=96, height=80, audio_from=audio_from)


@pytest.mark.parametrize("rate", ["25/1", "30/1", "24000/1001", "30000/1001", "60000/1001", "120/1", "10/1", "37/3"])
@pytest.mark.parametrize("frames", [1, 2, 50])
def test_frames_and_rate_are_exact(tmp_path: Path, rate: str, frames: int) -> None:
    path = tmp_path / "out.mp4"
    written = write(path, frames, fps=Fraction(rate))
    facts = probe_video(path, LIMITS)
    assert (facts.frames, facts.codec, facts.media_type) == (frames, "h264", "video/mp4")
    assert written.frames == frames
    assert written.duration_s == pytest.approx(facts.duration_s, abs=1e-5)
    if frames > 1:
        assert facts.fps == rate
    assert list(tmp_path.iterdir()) == [path]


def test_colours_survive(tmp_path: Path) -> None:
    colours = [
        (255, 255, 255),
        (0, 0, 0),
        (220, 30, 30),
        (20, 200, 40),
        (30, 40, 220),
        (128, 128, 128),
        (240, 190, 160),
    ]
    frames = np.stack([np.full((64, 64, 3), colour, np.uint8) for colour in colours])
    path = tmp_path / "colours.mp4"
    write_video(path, [frames], fps=Fraction(25), width=64, height=64)
    facts = probe_video(path, LIMITS)
    read = np.concatenate(list(read_frames(path, facts, batch_frames=3)))
    assert np.abs(read.astype(int) - frames).max() <= 3
    log = ffmpeg("-i", path, "-f", "null", "-")
    # All three of matrix, primaries and transfer: browsers guess when one is missing.
    assert "yuv420p(tv, bt709, progressive)" in log
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sides_get_one_more_line(tmp_path: Path) -> None:
    frame = np.zeros((71, 65, 3), np.uint8)
    frame[-1], frame[:, -1] = 200, 200
    path = tmp_path / "odd.mp4"
    written = write_video(path, [frame, frame], fps=Fraction(25), width=65, height=71)
    assert (written.width, written.height) == (66, 72)
    read = next(iter(read_frames(path, probe_video(path, LIMITS), batch_frames=1)))[0]
    assert abs(int(read[71, 65, 0]) - 200) < 12


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ("-c:a", "aac")),
        ("a.webm", ("-c:v", "libvpx", "-c:a", "libopus")),
        ("a.mkv", ("-c:a", "libvorbis")),
        ("a.mpg", ("-c:v", "mpeg1video", "-c:a", "mp2")),
        ("a.mov", ("-c:a", "pcm_s16le")),
        ("b.mp4", ("-c:a", "libmp3lame")),
        ("b.mkv", ("-c:a", "ac3", "-ac", "6")),
        ("c.mov", ("-c:a", "alac", "-ar", "96000")),
        ("c.mkv", ("-c:a", "flac")),
        ("c.mp4", ("-c:a", "eac3")),
        ("d.mov", ("-c:a", "pcm_s24le")),
        ("e.mov", ("-c:a", "pcm_s24be")),
        ("f.mov", ("-c:a", "pcm_s32be")),
        ("g.mov", ("-c:a", "pcm_f32be")),
        ("h.mov", ("-c:a", "pcm_alaw", "-ar", "8000")),
        ("i.mov", ("-c:a", "pcm_mulaw", "-ar", "8000")),
        ("d.mkv", ("-c:a", "pcm_s32le")),
        ("e.mkv", ("-c:a", "pcm_f32le")),
        ("f.mkv", ("-c:a", "pcm_u8")),
        ("a.3gp", ("-c:v", "libx264", "-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1", "-b:a", "12200")),
    ],
)
def test_sound_is_kept_and_as_long_as_the_picture(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    clip = sound(tmp_path / name, *options)
    written = write(tmp_path / "out.mp4", 50, clip)
    assert (written.has_audio, written.warnings) == (True, ())
    facts = probe_video(tmp_path / "out.mp4", LIMITS)
    assert (facts.has_audio, facts.frames) == (True, 50)
    samples = heard(tmp_path / "out.mp4")
    assert len(samples) / 8000 == pytest.approx(2, abs=0.04)
    assert np.abs(samples[2000:14000]).max() > 1000


@pytest.mark.parametrize(("frames", "heard_s"), [(25, 1), (75, 2)])
def test_sound_never_changes_the_length(tmp_path: Path, frames: int, heard_s: float) -> None:
    clip = sound(tmp_path / "clip.mp4")
    assert write(tmp_path / "out.mp4", frames, clip).has_audio
    assert probe_video(tmp_path / "out.mp4", LIMITS).frames == frames
    log = ffmpeg("-i", tmp_path / "out.mp4", "-f", "null", "-")
    duration_s = float(log.split("Duration: 00:00:")[1][:5])
    assert duration_s == pytest.approx(frames / 25, abs=0.04)
    assert len(heard(tmp_path / "out.mp4")) / 8000 == pytest.approx(heard_s, abs=0.05)


@pytest.mark.parametrize("delay_s", [-0.48, 0.0, 0.52])
def test_sound_keeps_its_place_beside_the_picture(tmp_path: Path, delay_s: float) -> None:
    """The tone starts `delay_s` after the picture; before its first frame nothing is heard of it."""
    clip = sound(tmp_path / "clip.mkv", "-c:a", "pcm_s16le", delay_s=delay_s, seconds=1)
    assert write(tmp_path / "out.mp4", 25, clip).has_audio
    loud = np.flatnonzero(np.abs(heard(tmp_path / "out.mp4").astype(int)) > 1000) / 8000
    assert loud[0] == pytest.approx(max(0.0, delay_s), abs=0.03)
    assert loud[-1] == pytest.approx(min(1.0, 1 + delay_s), abs=0.04)


def test_a_broken_sound_track_keeps_the_picture(tmp_path: Path) -> None:
    clip = sound(tmp_path / "clip.mkv", "-c:a", "libmp3lame", seconds=2)
    data = bytearray(clip.read_bytes())
    generator = np.random.default_rng(1)
    for at in range(len(data) // 2, len(data) - 2000, 701):
        data[at : at + 60] = generator.bytes(60)
    clip.write_bytes(data)
    written = write(tmp_path / "out.mp4", 50, clip)
    assert written.frames == 50
    assert written.has_audio
    assert "damaged" in written.warnings[0]
    assert probe_video(tmp_path / "out.mp4", LIMITS).frames == 50


def with_cover(clip: Path, path: Path) -> Path:
    """The clip with cover art, as music programs write it: a stream whose decoder the guards refuse."""
    Image.new("RGB", (96, 96), "red").save(path.with_suffix(".jpg"))
    cover = ("-i", path.with_suffix(".jpg"), "-map", "0", "-map", "1", "-disposition:v:1", "attached_pic")
    ffmpeg("-i", clip, *cover, "-c", "copy", path)
    return path


def test_cover_art_is_no_damage_of_the_sound(tmp_path: Path) -> None:
    clip = with_cover(sound(tmp_path / "plain.mp4"), tmp_path / "cover.mp4")
    written = write(tmp_path / "out.mp4", 50, clip)
    assert (written.has_audio, written.warnings) == (True, ())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process can be read on Linux")
def test_every_run_that_decodes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    runs: list[tuple[list[str], int, int]] = []

    class Watched(media_process.Ffmpeg):
        def __enter__(self) -> Self:
            super().__enter__()
            # The launcher sets the limits, then becomes ffmpeg.
            name = Path(f"/proc/{self.pid}/comm")
            wait_until(lambda: name.read_text().startswith("ffmpeg"), "ffmpeg runs")
            memory, size = (resource.prlimit(self.pid, kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE))
            runs.append((self._arguments, memory, size))
            return self

    clip = sound(tmp_path / "clip.mp4")
    for module in (media_encoding, media_header):
        monkeypatch.setattr(module, "Ffmpeg", Watched)
    assert write(tmp_path / "out.mp4", 50, clip).has_audio
    untrusted = [(memory, size, "-y" in arguments) for arguments, memory, size in runs if "-max_pixels" in arguments]
    assert len(untrusted) >= 3
    for memory, size, writes in untrusted:
        assert 0 < memory <= 4 << 30
        assert 0 < size < 20 << 20 if writes else size == 0
    assert all(size != resource.RLIM_INFINITY for _, _, size in runs)


def test_sound_that_would_fill_the_disk_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = sound(tmp_path / "clip.mp4")
    monkeypatch.setattr(media_encoding, "_INDEX_MAX_BYTES", -10_000)
    monkeypatch.setattr(media_encoding, "_AUDIO_MAX_BYTES_PER_S", 0)
    written = write(tmp_path / "out.mp4", 50, clip)
    assert (written.has_audio, len(written.warnings)) == (False, 1)
    assert probe_video(tmp_path / "out.mp4", LIMITS).frames == 50


def test_a_clip_without_sound_is_said(tmp_path: Path) -> None:
    write(tmp_path / "silent.mp4", 5)
    written = write(tmp_path / "out.mp4", 5, tmp_path / "silent.mp4")
    assert not written.has_audio
    assert written.warnings
    (tmp_path / "text.mp4").write_text("ffconcat version 1.0\nfile silent.mp4\n")
    assert not write(tmp_path / "out.mp4", 5, tmp_path / "text.mp4").has_audio


def test_metadata_is_not_passed_on(tmp_path: Path) -> None:
    clip = sound(tmp_path / "clip.mp4", "-c:a", "aac", "-metadata", "title=secret place")
    assert write(tmp_path / "out.mp4", 50, clip).has_audio
    assert b"secret place" in clip.read_bytes()
    assert b"secret place" not in (tmp_path / "out.mp4").read_bytes()


def test_an_error_of_the_frames_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from still(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_video(tmp_path / "out.mp4", failing(), fps=Fraction(25), width=96, height=80)
    assert list(tmp_path.iterdir()) == []
    assert decoding_children() == []


def test_frames_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for frames in ([], [np.zeros((80, 97, 3), np.uint8)], [np.zeros((80, 96, 3), np.float32)]):
        with pytest.raises(EncodingFailed) as caught:
            write_video(tmp_path / "out.mp4", frames, fps=Fraction(25), width=96, height=80)
        assert not caught.value.retryable
    assert list(tmp_path.iterdir()) == []


def test_a_dying_encoder_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "ffmpeg"
    dying.write_text("#!/bin/sh\necho '[error] No space left on device' >&2\nexit 1\n")
    dying.chmod(0o755)
    monkeypatch.setattr(media_process.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(dying))
    (tmp_path / "results").mkdir()
    with pytest.raises(EncodingFailed, match="No space left on device") as caught:
        write_video(tmp_path / "results" / "out.mp4", still(500), fps=Fraction(25), width=96, height=80)
    assert caught.value.retryable
    assert list((tmp_path / "results").iterdir()) == []
    assert decoding_children() == []


def test_an_old_result_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")

    def watching() -> Iterator[np.ndarray]:
        for frame in still(3):
            assert path.read_bytes() == b"old"
            yield frame

    write_video(path, watching(), fps=Fraction(25), width=96, height=80)
    assert probe_video(path, LIMITS).frames == 3
