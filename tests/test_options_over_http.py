"""Every option of an animation through the whole service: client, API, queue, a real worker, and back as a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from client.service import Service
from client.submission import Order, finish, submit
from tests.client.conftest import Watcher
from tests.conftest import REPOSITORY
from tests.test_main_road import running
from worker import media, pictures
from worker.settings import UNLIMITED

SAMPLES = REPOSITORY / "tests" / "samples"
Animate = Callable[..., tuple[dict[str, Any], np.ndarray, Path]]
FRAMES = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        running(tmp_path_factory.mktemp("data"), ANIMATO_BATCH_FRAMES="4") as stack,
        Service(str(stack.client.base_url)) as service,
    ):
        yield service


@pytest.fixture
def animate(service: Service, tmp_path: Path) -> Animate:
    """Have two files animated: the public JSON, the frames of the result, and its file."""

    def run(source: Path, driving: Path, **fields: str) -> tuple[dict[str, Any], np.ndarray, Path]:
        output = tmp_path / f"result-{len(list(tmp_path.iterdir()))}.mp4"
        order = Order(files={"source_image": source, "driving_video": driving}, fields=fields, output=output)
        said = finish(service, order, submit(service, order, Watcher()), Watcher(), cancel_on_interrupt=False).said
        facts = media.probe_video(output, UNLIMITED)
        assert (facts.frames, facts.fps, facts.width, facts.height) == tuple(
            said["result"][name] for name in ("frames", "fps", "width", "height")
        )
        assert said["result"]["frames"] == said["input"]["driving_video"]["frames"]
        assert said["result"]["fps"] == said["input"]["driving_video"]["fps"]
        frames = np.concatenate(list(media.read_frames(output, facts, batch_frames=16)))
        return said, frames.astype(int), output

    return run


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """A drawn head that the detector finds."""
    return pictures.load_image(SAMPLES / "source.png")


@pytest.fixture(scope="module")
def two_people(head: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide picture with a large head at the left and a smaller one at the right."""
    path = tmp_path_factory.mktemp("people") / "people.png"
    pictures.write_png(path, wide(head))
    return path


@pytest.fixture(scope="module")
def clip(head: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that goes to the right."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write(path, [np.roll(head, 4 * number, axis=1) for number in range(FRAMES)])
    return path


def wide(head: np.ndarray, shift: int = 0) -> np.ndarray:
    picture_HWC = np.full((330, 620, 3), 120, np.uint8)
    picture_HWC[37:293, 20:276] = head
    picture_HWC[100:300, 380 + shift : 580 + shift] = pictures.resized(head, 200, 200)
    return picture_HWC


def write(path: Path, frames: list[np.ndarray], fps: Fraction = Fraction(25)) -> None:
    height, width = frames[0].shape[:2]
    media.write_video(path, [np.stack(frames)], fps=fps, width=width, height=height)


def ffmpeg(*arguments: object) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def middle(crop: str) -> tuple[float, float]:
    left, top, width, height = map(int, crop.split(","))
    return left + width / 2, top + height / 2


def test_crops_and_sizes(animate: Animate, two_people: Path, clip: Path) -> None:
    said, _, _ = animate(two_people, clip, source_crop="none", driving_crop="20,10,200,200", size="64")
    assert (said["result"]["source_crop"], said["result"]["driving_crop"]) == ("145,0,330,330", "20,10,200,200")
    assert (said["result"]["width"], said["result"]["height"]) == (64, 64)
    said, _, _ = animate(two_people, clip, source_crop="-10,37,256,256", size="96")
    assert said["result"]["source_crop"] == "-10,37,256,256"
    assert said["result"]["width"] == 96


def test_each_of_several_people_put_back_into_the_picture(animate: Animate, two_people: Path, clip: Path) -> None:
    first, _, _ = animate(two_people, clip, size="64")
    assert middle(first["result"]["source_crop"]) == pytest.approx((148, 165), abs=60)
    second, frames, _ = animate(two_people, clip, subject="1", paste_back="true", reference_frame="first")
    assert middle(second["result"]["source_crop"]) == pytest.approx((480, 200), abs=60)
    original = pictures.load_image(two_people).astype(int)
    assert frames.shape[1:] == original.shape
    left, top, side, _ = map(int, second["result"]["source_crop"].split(","))
    outside = np.ones(original.shape[:2], bool)
    outside[max(top, 0) : top + side, max(left, 0) : left + side] = False
    change = np.abs(frames[-1] - original).mean(-1)
    assert change[outside].mean() < 2, "everything else stays, but for the codec"
    assert change[~outside].mean() > change[outside].mean() + 1


def test_of_several_people_in_the_video_the_one_that_is_named(
    animate: Animate, two_people: Path, head: np.ndarray, tmp_path: Path
) -> None:
    write(tmp_path / "two.mp4", [wide(head, shift=2 * number) for number in range(FRAMES)])
    crops = [
        animate(two_people, tmp_path / "two.mp4", driving_subject=number, size="64")[0]["result"]["driving_crop"]
        for number in ("0", "1")
    ]
    assert middle(crops[0]) == pytest.approx((148, 165), abs=60)
    assert middle(crops[1]) == pytest.approx((483, 200), abs=60)


@pytest.mark.parametrize(("asked", "got"), [("first", {0}), ("2", {2}), ("auto", set(range(FRAMES)))])
def test_the_reference_frame(animate: Animate, clip: Path, asked: str, got: set[int]) -> None:
    said, _, _ = animate(SAMPLES / "source.png", clip, reference_frame=asked, size="64")
    assert said["result"]["reference_frame"] in got


def test_views_and_another_format_come_beside_the_result(service: Service, clip: Path, tmp_path: Path) -> None:
    """By the command itself, which takes the format from the name of the result."""
    out = tmp_path / "out.gif"
    command = [sys.executable, REPOSITORY / "animato.py", "submit", SAMPLES / "source.png", clip, "-o", out]
    options = ("--views", "comparison,flow", "--size", "64", "--mark", "label", "--server", str(service.http.base_url))
    subprocess.run([*command, *options], check=True, capture_output=True)
    assert media.probe_video(out, UNLIMITED).media_type == "image/gif"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.comparison.mp4", "out.flow.mp4", "out.gif"]
    for name in ("comparison", "flow"):
        assert media.probe_video(tmp_path / f"out.{name}.mp4", UNLIMITED).frames == FRAMES
    newest = service.http.get("/animations").json()["data"][0]
    assert newest["options"]["mark"] == "label"
    for path in tmp_path.iterdir():
        # Files say which animation they are of.
        assert newest["id"].encode() in path.read_bytes()
        facts = media.probe_video(path, UNLIMITED)
        last_HWC = list(media.read_frames(path, facts, batch_frames=1))[-1][0]
        # The corner has the label's white letters on its dark plate.
        corner_HW = last_HWC[-24:, -64:].mean(-1)
        assert corner_HW.max() > 200
        assert (corner_HW < 130).mean() > 0.3


def test_smoothing_steadies(animate: Animate, head: np.ndarray, tmp_path: Path) -> None:
    """A head that only trembles: hardly anything of that is left."""
    write(tmp_path / "tremble.mp4", [np.roll(head, 5 * (number % 2), axis=1) for number in range(8)])
    unrest = [
        np.abs(np.diff(animate(SAMPLES / "source.png", tmp_path / "tremble.mp4", **options)[1], axis=0)).mean()
        for options in (
            {"smoothing": strength, "driving_crop": "none", "reference_frame": "first"} for strength in ("0", "1")
        )
    ]
    assert unrest[1] < 0.5 * unrest[0], unrest


def test_a_portrait_clip_of_a_phone_is_upright(animate: Animate, head: np.ndarray, tmp_path: Path) -> None:
    upright, lying, phone = (tmp_path / f"{name}.mp4" for name in ("upright", "lying", "phone"))
    frames = [np.pad(np.roll(head, 4 * number, axis=1), ((80, 80), (0, 0), (0, 0))) for number in range(FRAMES)]
    write(upright, frames)
    write(lying, [np.rot90(frame).copy() for frame in frames])
    ffmpeg("-display_rotation:v:0", "-90", "-i", lying, "-c", "copy", phone)
    said, shown, _ = animate(SAMPLES / "source.png", phone)
    driving = said["input"]["driving_video"]
    assert (driving["width"], driving["height"], driving["rotation_deg"] % 180) == (256, 416, 90)
    plain, expected, _ = animate(SAMPLES / "source.png", upright)
    assert middle(said["result"]["driving_crop"]) == pytest.approx(middle(plain["result"]["driving_crop"]), abs=8)
    assert np.abs(shown - expected).mean() < 3, "the same as of the clip that needs no turning"


def test_2997_frames_a_second_with_sound(animate: Animate, head: np.ndarray, tmp_path: Path) -> None:
    """The number of frames, the exact rate, and a beep within one frame of where it was."""
    rate, beep_s = Fraction(30000, 1001), 0.2
    write(tmp_path / "silent.mp4", [np.roll(head, number, axis=1) for number in range(12)], rate)
    tone = f"aevalsrc=sin(2000*PI*t)*gte(t\\,{beep_s}):s=48000:d={float(12 / rate):.6f}"
    clip = tmp_path / "beep.mp4"
    ffmpeg("-i", tmp_path / "silent.mp4", "-f", "lavfi", "-i", tone, "-c:v", "copy", "-c:a", "aac", clip)
    said, _, output = animate(SAMPLES / "source.png", clip, size="64")

    assert (said["result"]["frames"], said["result"]["fps"], said["result"]["has_audio"]) == (12, "30000/1001", True)
    onset_s = [sound_begins_at_s(path) for path in (clip, output)]
    assert onset_s[0] == pytest.approx(beep_s, abs=0.02)
    assert abs(onset_s[1] - onset_s[0]) < 1 / float(rate)
    silent, _, _ = animate(SAMPLES / "source.png", clip, size="64", audio="false")
    assert silent["result"]["has_audio"] is False


def sound_begins_at_s(path: Path) -> float:
    heard = np.frombuffer(ffmpeg("-i", path, "-vn", "-ac", "1", "-ar", "48000", "-f", "f32le", "-"), np.float32)
    return int(np.argmax(np.abs(heard) > 0.1)) / 48000


@pytest.mark.parametrize(
    ("source", "driving", "options"),
    [
        (
            "pyfeat_multi_face.jpg",
            "liveportrait_d13.mp4",
            {"subject": "3"},
        ),  # five people, four of them found; a portrait clip
        ("sadtalker_art_7.png", "paddlegan_mona7s.mp4", {}),  # a painting; an animated one, 29.97 a second, sound
        ("liveportrait_s23.jpg", "facerec_short_hamilton_clip.mp4", {"paste_back": "true"}),  # a toy; several people
    ],
)
def test_real_media(
    animate: Animate, media_dir: Path, tmp_path: Path, source: str, driving: str, options: dict[str, str]
) -> None:
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "2", "-i", media_dir / "driving" / driving, "-t", "0.2", "-c:v", "libx264", "-c:a", "aac", cut)
    said, frames, _ = animate(media_dir / "source" / source, cut, **options)
    facts = media.probe_video(cut, UNLIMITED)
    assert (said["result"]["frames"], said["result"]["fps"]) == (facts.frames, facts.fps)
    assert said["result"]["has_audio"] == facts.has_audio
    assert frames.std() > 10
