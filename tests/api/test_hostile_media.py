"""Odd and broken files through HTTP: accepted as they should be, or refused in time with nothing left behind."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.api.conftest import Service, assert_problem

REJECTED = (422, {"media_rejected"})
TOO_SMALL = (422, {"media_too_small"})
UNSUPPORTED = (415, {"unsupported_media_type"})

SOURCES = {
    "img_bomb.gif": (422, {"media_too_large"}),
    "img_940x2.png": TOO_SMALL,
    "img_1x1.png": TOO_SMALL,
    "img_1x1.psd": UNSUPPORTED,
    "img_broken_exif.jpg": TOO_SMALL,
    "img.svg": UNSUPPORTED,
    "img.jp2": UNSUPPORTED,
    "img.heic": UNSUPPORTED,
    "img_16bit.tif": UNSUPPORTED,
    "img_truncated.jpg": REJECTED,
    "img_truncated.png": REJECTED,
    "img_invalid_1byte.jpg": (422, {"media_rejected"}),
}
DRIVING = {
    "vid_zero_bytes.mp4": REJECTED,
    "vid_audio_only_00015.mov": UNSUPPORTED,
    "vid_1x1_444.mp4": TOO_SMALL,
    "vid_cinepak_rgb24.avi": UNSUPPORTED,
    "img_noface.jpg": (422, {"not_an_animation"}),
    "img.webp": (422, {"not_an_animation"}),
    "img.svg": UNSUPPORTED,
}
ANIMATIONS = {"img_animated_headpose_female.gif", "img_animated_headpose_male.gif", "img_animated_long.gif"}


def hostile(media_dir: Path, pattern: str) -> list[Path]:
    found = sorted((media_dir / "hostile").glob(pattern))
    assert found
    return found


def test_sources(service: Service, media_dir: Path, clip: bytes) -> None:
    for path in hostile(media_dir, "img*"):
        response = service.post({"source_image": ("x", path.read_bytes()), "driving_video": ("x", clip)})
        _check(service, response, path, SOURCES.get(path.name), "source_image")


def test_videos_as_source(service: Service, media_dir: Path, clip: bytes) -> None:
    for path in hostile(media_dir, "vid*"):
        if path.stat().st_size:
            response = service.post({"source_image": ("x", path.read_bytes()), "driving_video": ("x", clip)})
            _check(service, response, path, UNSUPPORTED, "source_image")


def test_driving(service: Service, media_dir: Path, picture: bytes) -> None:
    names = {path.name for path in hostile(media_dir, "vid*")} | ANIMATIONS | set(DRIVING)
    for name in sorted(names):
        path = media_dir / "hostile" / name
        response = service.post({"source_image": ("x", picture), "driving_video": ("x", path.read_bytes())})
        _check(service, response, path, DRIVING.get(name), "driving_video")


def _check(
    service: Service, response: httpx.Response, path: Path, expected: tuple[int, set[str]] | None, field: str
) -> None:
    if expected is None:
        assert response.status_code == 202, (path.name, response.text)
        service.reset()
        return
    status, codes = expected
    code = response.json().get("code")
    assert code in codes, (path.name, response.text)
    assert_problem(response, status, code, field)
    service.assert_nothing_left()
