"""A file that is another one when it is decoded than it was when it was probed, and playlists as source images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from tests.conftest import decoding_children
from worker.errors import MediaRejected, UnsupportedMedia
from worker.jobs import VideoFacts
from worker.media import probe_video, read_frames
from worker.pictures import load_image, probe_image
from worker.settings import MediaLimits

LIMITS = MediaLimits()
FRAMES = 10
PLAYLISTS = {
    "ffconcat": b"ffconcat version 1.0\nfile sibling.png\n",
    "hls": b"#EXTM3U\n#EXT-X-VERSION:7\n#EXTINF:1.0,\nsibling.png\n#EXT-X-ENDLIST\n",
    "dash": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='sibling.png'/></svg>",
    "mvg": b"push graphic-context\nviewbox 0 0 640 480\nimage over 0,0 0,0 'sibling.png'\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n(/etc/passwd) (r) file\n",
}


def clip(path: Path, size: str = "96x80", frames: int = FRAMES) -> Path:
    source = f"testsrc2=s={size}:r=25:d={frames / 25}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", source]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-f", "mp4", str(path)], check=True)
    return path


@pytest.fixture
def probed(tmp_path: Path) -> tuple[Path, VideoFacts]:
    """A clip and what it was when it was looked at."""
    path = clip(tmp_path / "clip.mp4")
    return path, probe_video(path, LIMITS)


def decoded(path: Path, facts: VideoFacts) -> int:
    return sum(len(batch) for batch in read_frames(path, facts, batch_frames=4, square_px=64, limits=LIMITS))


@pytest.mark.parametrize("frames", [1, FRAMES - 1, FRAMES + 1, 500])
def test_another_number_of_frames(probed: tuple[Path, VideoFacts], frames: int) -> None:
    path, facts = probed
    assert decoded(path, facts) == FRAMES
    with pytest.raises(MediaRejected, match="up to frame"):
        decoded(clip(path, frames=frames), facts)
    assert decoding_children() == []


def test_larger_frames_than_are_allowed(probed: tuple[Path, VideoFacts]) -> None:
    path, facts = probed
    with pytest.raises(MediaRejected) as caught:
        decoded(clip(path, size="4096x4096", frames=2), facts)
    assert caught.value.code == "media_too_large"


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_in_its_place(probed: tuple[Path, VideoFacts], name: str) -> None:
    path, facts = probed
    path.write_bytes(PLAYLISTS[name])
    with pytest.raises(UnsupportedMedia):
        decoded(path, facts)


def test_a_source_that_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "source.png"
    Image.new("RGB", (96, 80)).save(path)
    assert probe_image(path, LIMITS).width == 96
    assert load_image(path, limits=LIMITS).shape == (80, 96, 3)
    Image.new("1", (7000, 7000)).save(path)
    with pytest.raises(MediaRejected) as caught:
        load_image(path, square_px=64, limits=LIMITS)
    assert caught.value.code == "media_too_large"


@pytest.mark.parametrize("name", PLAYLISTS)
def test_no_playlist_is_a_source_image(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.full((96, 96, 3), 9, np.uint8)).save(tmp_path / "sibling.png")
    path = tmp_path / "source.png"
    path.write_bytes(PLAYLISTS[name])
    for look in (lambda: probe_image(path, LIMITS), lambda: load_image(path, limits=LIMITS)):
        with pytest.raises(UnsupportedMedia):
            look()


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x10\0\0\0WEBP"])
def test_no_playlist_behind_the_head_of_a_picture(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "source.png"
    for content in PLAYLISTS.values():
        path.write_bytes(head + content)
        with pytest.raises(MediaRejected) as caught:
            probe_image(path, LIMITS)
        assert caught.value.code in {"media_rejected", "media_too_large"}  # what follows may be read as a size
