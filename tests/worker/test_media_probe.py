"""Probing driving videos: exact facts, and refusals under guard. All clips are made here by ffmpeg and Pillow."""

from __future__ import annotations

import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from tests.conftest import decoding_children
from worker.errors import FfmpegUnusable, MediaRejected, MediaTooLarge, UnsupportedMedia
from worker.media import probe_video, read_frames, sniff
from worker.settings import MediaLimits

LIMITS = MediaLimits()
SMALL = LIMITS.model_copy(update={"video_max_frames": 20})


def ffmpeg(*arguments: str | Path) -> None:
    """Runs the bundled ffmpeg without any guard."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, cwd="/")


def clip(path: Path, *options: str, size: str = "96x80", rate: str = "25", seconds: float = 1) -> Path:
    """A moving test picture."""
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}", *options, path)
    return path


def frames_read(path: Path) -> int:
    """How many frames `read_frames` gives."""
    facts = probe_video(path, LIMITS)
    return sum(len(batch) for batch in read_frames(path, facts, batch_frames=7, square_px=32, limits=LIMITS))


def refusal(path: Path, limits: MediaLimits = LIMITS) -> MediaRejected:
    """The error that the probe ends in; it never names the file."""
    with pytest.raises(MediaRejected) as caught:
        probe_video(path, limits)
    assert str(path) not in caught.value.detail
    assert path.parent.name not in caught.value.detail
    return caught.value


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("rate", ["30000/1001", "24000/1001", "25/1", "120/1"])
def test_the_rate_is_an_exact_fraction(tmp_path: Path, rate: str, suffix: str) -> None:
    path = clip(tmp_path / f"clip{suffix}", rate=rate)
    facts = probe_video(path, LIMITS)
    assert facts.fps == rate
    assert not facts.variable_frame_rate
    assert facts.frames == frames_read(path) == round(Fraction(rate))
    assert facts.duration_s == pytest.approx(facts.frames / float(Fraction(rate)), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "media_type", "codec"),
    [
        ("a.mp4", ("-c:v", "libx264"), "video/mp4", "h264"),
        ("a.mov", ("-c:v", "libx265", "-x265-params", "log-level=none"), "video/quicktime", "hevc"),
        ("a.webm", ("-c:v", "libvpx"), "video/webm", "vp8"),
        ("b.webm", ("-c:v", "libvpx-vp9", "-cpu-used", "8"), "video/webm", "vp9"),
        ("a.mkv", ("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "fast-decode=1"), "video/x-matroska", "av1"),
        ("b.mp4", ("-c:v", "mpeg4"), "video/mp4", "mpeg4"),
        ("a.mpg", ("-c:v", "mpeg1video"), "video/mpeg", "mpeg1video"),
        ("b.mpg", ("-c:v", "mpeg2video", "-f", "vob"), "video/mpeg", "mpeg2video"),
        (
            "a.3gp",
            (
                "-c:v",
                "libx264",
            ),
            "video/3gpp",
            "h264",
        ),
        ("a.gif", (), "image/gif", "gif"),
        ("a.webp", ("-c:v", "libwebp_anim"), "image/webp", "webp_anim"),
    ],
)
def test_containers_and_codecs(
    tmp_path: Path, name: str, options: tuple[str, ...], media_type: str, codec: str
) -> None:
    path = clip(tmp_path / name, *options)
    facts = probe_video(path, LIMITS)
    assert (facts.media_type, facts.codec, facts.frames) == (media_type, codec, 25)
    assert (facts.width, facts.height, facts.fps) == (96, 80, "25/1")
    assert frames_read(path) == 25


def test_a_variable_rate_is_normalised_and_keeps_the_duration(tmp_path: Path) -> None:
    path = clip(
        tmp_path / "vfr.mp4",
        *("-vf", "setpts='if(lt(N,25),N,25+(N-25)*3)/25/TB'", "-fps_mode", "passthrough", "-enc_time_base", "1/1000"),
        seconds=2,
    )
    facts = probe_video(path, LIMITS)
    assert facts.variable_frame_rate
    assert facts.fps == "25/1"
    assert facts.duration_s == pytest.approx(4, abs=0.13)
    assert frames_read(path) == facts.frames


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animated_pictures_keep_their_timing(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.new("RGB", (80, 64), (index * 50, 0, 255)) for index in range(5)]
    path = tmp_path / f"a{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 300, 100, 100, 600], loop=0)
    facts = probe_video(path, LIMITS)
    assert facts.variable_frame_rate
    assert facts.fps == "10/1"
    assert facts.frames == frames_read(path) == 12  # 1.2 s, the last picture's 0.6 s included
    shown = [batch[0, 0, 0, 0] for batch in read_frames(path, facts, batch_frames=1)]
    expected = [0] + [50] * 3 + [100, 150] + [200] * 6
    assert [round(int(value) / 50) * 50 for value in shown] == expected


def test_sound_counts_only_when_it_decodes(tmp_path: Path) -> None:
    tone = ("-f", "lavfi", "-i", "sine=d=1")
    source = clip(tmp_path / "silent.mp4")
    ffmpeg("-i", source, *tone, "-c:v", "copy", "-c:a", "aac", tmp_path / "aac.mp4")
    ffmpeg("-i", source, *tone, "-c:v", "copy", "-c:a", "dca", "-strict", "-2", tmp_path / "dts.mkv")
    silent = probe_video(source, LIMITS)
    assert (silent.has_audio, silent.audio_note) == (False, None)
    sounding = probe_video(tmp_path / "aac.mp4", LIMITS)
    assert (sounding.has_audio, sounding.audio_note) == (True, None)
    facts = probe_video(tmp_path / "dts.mkv", LIMITS)  # DTS is outside the list: the picture is taken without it
    assert not facts.has_audio
    assert facts.audio_note == "The sound (codec dts) cannot be decoded and is left out."
    assert facts.frames == 25


def test_no_moving_picture(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", tmp_path / "sound.mp4")
    Image.new("RGB", (96, 96)).save(tmp_path / "cover.png")
    ffmpeg(
        *("-i", tmp_path / "sound.mp4", "-i", tmp_path / "cover.png", "-map", "0", "-map", "1", "-c", "copy"),
        *("-disposition:v:0", "attached_pic", tmp_path / "cover.mp4"),
    )
    assert refusal(tmp_path / "sound.mp4").code == "no_video_stream"
    assert refusal(tmp_path / "cover.mp4").code == "no_video_stream"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tiff", "a.bmp", "a.avif"])
def test_still_pictures_are_no_animation(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (96, 96)).save(tmp_path / name)
    error = refusal(tmp_path / name)
    assert (error.code, error.http_status) == ("not_an_animation", 422)


def test_one_frame_of_video_is_a_video(tmp_path: Path) -> None:
    path = clip(tmp_path / "one.mp4", "-frames:v", "1")
    assert probe_video(path, LIMITS).frames == frames_read(path) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"video_max_frames": 24}, "media_too_long"),
        ({"video_max_duration_s": 0.5}, "media_too_long"),
        ({"video_max_fps": 24}, "frame_rate_too_high"),
        ({"video_max_pixels": 96 * 80 - 1}, "media_too_large"),
        ({"video_min_side_px": 81}, "media_too_small"),
        ({"probe_timeout_s": 0.0}, "media_timeout"),
        ({"video_max_bytes": 100}, "part_too_large"),
    ],
)
def test_limits(tmp_path: Path, change: dict[str, float], code: str) -> None:
    path = clip(tmp_path / "clip.mp4")
    assert probe_video(path, LIMITS.model_copy(update={"video_max_frames": 25, "video_max_fps": 25})).frames == 25
    error = refusal(path, LIMITS.model_copy(update=change))
    assert error.code == code
    assert decoding_children() == []
    assert isinstance(error, MediaTooLarge) == (code == "part_too_large")


def test_the_last_frame_counts_for_the_length(tmp_path: Path) -> None:
    minute = clip(tmp_path / "60.mp4", rate="1", seconds=60)
    assert probe_video(minute, LIMITS).duration_s == 60
    assert refusal(clip(tmp_path / "61.mp4", rate="1", seconds=61)).code == "media_too_long"
    one = clip(tmp_path / "one.mp4", "-frames:v", "1", rate="1/512", seconds=512)
    assert refusal(one).code == "media_too_long"


@pytest.mark.parametrize(
    ("size", "aspect", "code"),
    [
        ("128x128", "1000/1", "media_rejected"),
        ("128x130", "255/1", "media_rejected"),
        ("128x128", "17/1", "media_rejected"),
        ("1280x720", "1/17", "media_rejected"),
        ("1280x720", "1/16", None),
        ("128x128", "16/1", None),
        ("1280x720", "1/12", None),
        ("640x480", "1/11", "media_too_small"),
        ("1280x720", "10/1", "media_too_large"),
    ],
)
def test_what_passes_with_odd_pixels_can_be_read(tmp_path: Path, size: str, aspect: str, code: str | None) -> None:
    path = clip(tmp_path / "odd.mp4", "-vf", f"setsar={aspect}", size=size, seconds=0.2)
    if code is None:
        assert frames_read(path) == 5
    else:
        assert refusal(path).code == code


def gif_header(screen: tuple[int, int], first: tuple[int, int, int, int]) -> bytes:
    """A screen, four colours, a comment, and a first picture without data."""
    colours = bytes(12)
    extensions = b"!\xf9\x04\x00\x0a\x00\x00\x00" + b"!\xfe\x03,,,\x01!\x00"
    screen_and_colours = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF1, 0, 0) + colours
    return screen_and_colours + extensions + b"," + struct.pack("<HHHHB", *first, 0)


def test_a_huge_animated_picture_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    contents = {
        "screen.gif": gif_header((65_535, 65_535), (0, 0, 80, 80)),
        "outside.gif": gif_header((80, 80), (0, 65_280, 65_535, 1_321)),
        "canvas.webp": b"RIFF\x80\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\xff\x00\xff\xff\x00" + bytes(60),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        error = refusal(tmp_path / name)
        assert error.code == "media_too_large", name
        assert "65535 x 6" in error.detail or "65536 x 65536" in error.detail
    (tmp_path / "small.gif").write_bytes(gif_header((80, 80), (0, 0, 80, 80)))
    assert refusal(tmp_path / "small.gif").code == "media_rejected"
    (tmp_path / "cut.gif").write_bytes(gif_header((80, 80), (0, 0, 80, 80))[:20])
    assert refusal(tmp_path / "cut.gif").code == "media_rejected"


def test_a_file_that_is_too_short_for_any_format_is_damaged(tmp_path: Path) -> None:
    for size in (1, 11):
        (tmp_path / "short.mp4").write_bytes(b"\x00" * size)
        assert refusal(tmp_path / "short.mp4").code == "media_rejected"
    (tmp_path / "short.mp4").write_bytes(b"\x00" * 12)
    assert refusal(tmp_path / "short.mp4").code == "unsupported_media_type"


def test_a_header_that_lies_about_the_length_is_not_believed(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4")
    for lie in (1, 10**9):
        data = bytearray(path.read_bytes())
        for box, at in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
            start = data.index(box) + at
            data[start : start + 4] = lie.to_bytes(4)
        path.write_bytes(data)
        assert probe_video(path, LIMITS).frames == 25
        assert refusal(path, SMALL).code == "media_too_long"


def test_a_header_that_lies_about_the_size_is_not_believed(tmp_path: Path) -> None:
    path = clip(tmp_path / "big.mp4", size="640x480", seconds=0.2)
    data = path.read_bytes()
    entry = data.index(b"avc1") if data.count(b"avc1") == 1 else data.rindex(b"avc1")
    lied = bytearray(data)
    lied[entry + 28 : entry + 32] = (96).to_bytes(2) + (80).to_bytes(2)
    path.write_bytes(lied)
    assert refusal(path, LIMITS.model_copy(update={"video_max_pixels": 300_000})).code == "media_too_large"


def test_damaged_files(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", seconds=2)
    data = path.read_bytes()
    fast = clip(tmp_path / "fast.mp4", "-movflags", "+faststart", seconds=2).read_bytes()
    hole = len(fast) * 2 // 3
    damaged = {
        "empty": b"",
        "no-moov": data[: len(data) // 2],
        "cut": fast[: len(fast) // 2],
        "hole": fast[:hole] + b"\x5a" * 9000 + fast[hole + 9000 :],
        "head": data[:40],
    }
    for name, content in damaged.items():
        broken = tmp_path / f"{name}.mp4"
        broken.write_bytes(content)
        assert refusal(broken).code == "media_rejected", name


def test_unsupported_containers_and_codecs(tmp_path: Path) -> None:
    cinepak = clip(tmp_path / "cinepak.avi", "-c:v", "cinepak", seconds=0.2)
    inside = clip(tmp_path / "inside.mkv", "-c:v", "ffv1", seconds=0.2)
    for path in (cinepak, inside):
        error = refusal(path)
        assert isinstance(error, UnsupportedMedia)
        assert (error.code, error.http_status) == ("unsupported_media_type", 415)
    assert "ffv1" in refusal(inside).detail


def playlists(folder: Path) -> dict[str, Path]:
    """Texts that name `sibling.mp4`, disguised as videos."""
    clip(folder / "sibling.mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT1S" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="90000" width="96" height="80">'
        "<BaseURL>sibling.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
    texts = {
        "ffconcat": "ffconcat version 1.0\nfile sibling.mp4\n",
        "hls": "#EXTM3U\n#EXT-X-VERSION:7\n#EXTINF:1.0,\nsibling.mp4\n#EXT-X-ENDLIST\n",
        "dash": dash,
    }
    paths = {}
    for name, text in texts.items():
        paths[name] = folder / f"{name}.mp4"
        paths[name].write_text(text)
    return paths


@pytest.mark.parametrize("name", ["ffconcat", "hls", "dash"])
def test_disguised_playlists_are_refused(tmp_path: Path, name: str) -> None:
    assert refusal(playlists(tmp_path)[name]).code == "unsupported_media_type"


@pytest.mark.parametrize("name", ["ffconcat", "dash"])
def test_without_guards_ffmpeg_reads_what_a_playlist_names(tmp_path: Path, name: str) -> None:
    target = tmp_path / "leak.png"
    ffmpeg("-i", playlists(tmp_path)[name], "-frames:v", "1", target)
    assert target.exists(), "if ffmpeg no longer does this, the test above proves nothing"


@pytest.mark.parametrize("name", ["ffconcat", "hls", "dash"])
def test_the_guards_alone_refuse_playlists(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.media_header.sniff", lambda head: "video/mp4")
    assert refusal(playlists(tmp_path)[name]).code == "media_rejected"


@pytest.mark.parametrize("name", ["-i.mp4", "a:b.mp4", "a\nb.mp4", "%d.mp4", "http:", "-y", "ü 'x'.mp4"])
def test_names_are_only_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe_video(Path(name), LIMITS).frames == frames_read(Path(name)) == 25


def test_sniffing_short_and_foreign_heads() -> None:
    for head in (b"", b"\x00", b"RIFF", b"\x1a\x45\xdf\xa3", b"<svg", b"#EXTM3U\n", b"ffconcat version 1.0\n"):
        assert sniff(head) is None
    assert sniff(b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf") == "image/avif"
    assert sniff(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic") == "image/heic"


OLD_FFMPEG = """#!/bin/sh
# As Debian 12's 5.1: it knows another -enc_time_base only.
echo "[fatal] Invalid time base: demux" >&2
exit 1
"""


@pytest.mark.parametrize("program", [OLD_FFMPEG, "#!/bin/sh\nexit 0\n", None])
def test_another_ffmpeg_that_will_not_do_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None
) -> None:
    path = clip(tmp_path / "clip.mp4")
    named = tmp_path / "ffmpeg"
    if program:
        named.write_text(program)
        named.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(named))
    with pytest.raises(FfmpegUnusable) as refused:
        probe_video(path, LIMITS)
    assert refused.value.code == "ffmpeg_unusable"
    assert str(named) in refused.value.detail
    assert refused.value.hint


def test_another_ffmpeg_that_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "clip.mp4")
    usual = probe_video(path, LIMITS)
    other = tmp_path / "ffmpeg"
    other.symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other))
    assert imageio_ffmpeg.get_ffmpeg_exe() == str(other)
    assert probe_video(path, LIMITS) == usual
