"""The guards around ffmpeg themselves: most files are refused by several, so each is looked at alone here."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests.conftest import decoding_children, wait_until
from worker import media_process
from worker.media_formats import AUDIO_DECODERS, DEMUXERS, DRIVING_MEDIA_TYPES, VIDEO_DECODERS
from worker.media_guard import guarded_input, raw_input
from worker.media_process import Ffmpeg

GUARDS = ("-protocol_whitelist", "-format_whitelist", "-codec_whitelist", "-max_pixels", "-max_streams", "-threads")


@pytest.mark.parametrize("media_type", sorted(DRIVING_MEDIA_TYPES))
@pytest.mark.parametrize("decoder", [None, "libvpx"])
def test_every_guard_stands_before_the_input(media_type: str, decoder: str | None) -> None:
    arguments = guarded_input(Path("/somewhere/-i.mp4"), media_type, max_pixels=1234, video_decoder=decoder)
    *options, flag, name = arguments
    assert (flag, name) == ("-i", "file:/somewhere/-i.mp4")
    assert "-i" not in options
    values = dict(zip(options[::2], options[1::2], strict=True))
    demuxer = DEMUXERS[media_type]
    assert values == {
        "-protocol_whitelist": "file",
        "-format_whitelist": demuxer,
        "-codec_whitelist": ",".join(VIDEO_DECODERS + AUDIO_DECODERS),
        "-max_pixels": "1234",
        "-max_streams": "64",
        "-threads": "2",
        "-f": demuxer,
        **({"-c:v": decoder} if decoder else {}),
    }


def test_what_the_guards_let_through() -> None:
    assert set(DEMUXERS.values()) == {"mov", "matroska", "mpeg", "gif", "webp_anim"}
    for decoder in ("mjpeg", "png", "rawvideo", "ffv1", "tiff", "svg", "librsvg"):
        assert decoder not in VIDEO_DECODERS


def test_our_own_frames_come_through_the_pipe_alone() -> None:
    arguments = raw_input(96, 80, Fraction(30000, 1001))
    assert arguments[:2] == ["-protocol_whitelist", "pipe"]
    assert arguments[-2:] == ["-i", "pipe:0"]


def wait_for_ffmpeg(child: Ffmpeg) -> None:
    """Until the process that confines itself has become ffmpeg."""
    comm = Path(f"/proc/{child.pid}/comm")
    wait_until(lambda: comm.read_text().startswith("ffmpeg"), "ffmpeg runs")


@pytest.mark.skipif(sys.platform != "linux", reason="a running process can be looked at on Linux")
def test_the_child_has_no_environment_and_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATO_S3_SECRET", "hidden")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Ffmpeg([*raw_input(16, 16, Fraction(1)), "-f", "null", "-"], feeds=True) as child:
        process = Path(f"/proc/{child.pid}")
        wait_for_ffmpeg(child)
        assert (process / "environ").read_bytes() == b"LC_ALL=C\0"
        assert (process / "cwd").readlink() == Path("/")
        group, session, terminal = (process / "stat").read_text().rsplit(")", 1)[1].split()[2:5]
        assert (int(group), int(session), terminal) == (child.pid, child.pid, "0")
    assert decoding_children() == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process can be read on Linux")
def test_the_limits_of_a_child() -> None:
    import resource

    frames = raw_input(16, 16, Fraction(1))
    with Ffmpeg([*frames, "-f", "null", "-"], timeout_s=60, feeds=True, writes_bytes=1000) as encoder:
        wait_for_ffmpeg(encoder)
        limits = {kind: resource.prlimit(encoder.pid, kind) for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)}
        assert limits == {resource.RLIMIT_FSIZE: (1000, 1000), resource.RLIMIT_CORE: (0, 0)}
        assert resource.prlimit(encoder.pid, resource.RLIMIT_NOFILE) == (64, 64)
        assert resource.prlimit(encoder.pid, resource.RLIMIT_CPU) == resource.getrlimit(resource.RLIMIT_CPU)
    endless = ["-re", "-f", "lavfi", "-i", "testsrc2", "-f", "null", "-"]
    with Ffmpeg(endless, timeout_s=60) as decoder:
        wait_for_ffmpeg(decoder)
        assert resource.prlimit(decoder.pid, resource.RLIMIT_CPU) == (120, 121)
        assert resource.prlimit(decoder.pid, resource.RLIMIT_AS) == (4 << 30, 4 << 30)
        assert resource.prlimit(decoder.pid, resource.RLIMIT_FSIZE) == (0, 0)


@pytest.mark.parametrize("does", ["exec yes '[info] a line' >&2", "exec sleep 1000"])
def test_a_log_without_an_end_is_left_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str) -> None:
    with pretended(does, monkeypatch, tmp_path) as child, pytest.raises(TimeoutError):
        for _ in child.lines(timeout_s=1):
            pass
    assert decoding_children() == []


def test_a_child_that_closes_its_log_and_stays_is_left_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(media_process, "_EXIT_TIMEOUT_S", 0.5)
    with pretended("exec sleep 1000 2>&-", monkeypatch, tmp_path) as child, pytest.raises(TimeoutError):
        child.finish(timeout_s=30)
    assert decoding_children() == []


def pretended(script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ffmpeg:
    """A run of something that is not ffmpeg."""
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(media_process.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))
    return Ffmpeg([], log_level="info")


def test_all_waits_together_have_an_end() -> None:
    """One frame a second: no single wait is long, and a clip of an hour would take an hour."""
    slow = ["-re", "-f", "lavfi", "-i", "testsrc2=s=16x16:r=4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    frame = bytearray(16 * 16 * 3)
    with Ffmpeg(slow, timeout_s=2, yields=True) as child:

        def read_all() -> None:
            for _ in range(1000):
                child.read_into(memoryview(frame), stall_timeout_s=30)

        with pytest.raises(TimeoutError):
            read_all()
