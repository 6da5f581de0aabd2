"""Reading frames: orientation, shape, colour, transparency, memory, and nothing left running."""

from __future__ import annotations

import subprocess
import time
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from tests.conftest import decoding_children
from worker import media_guard, media_process
from worker.errors import MediaRejected
from worker.media import FOLDER_MEDIA_TYPE, probe_frames_folder, probe_video, read_frames
from worker.pictures import write_png
from worker.settings import MediaLimits

LIMITS = MediaLimits()
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (20, 200, 40), (30, 40, 220), (230, 220, 20)


def ffmpeg(*arguments: str | Path) -> None:
    """Runs the bundled ffmpeg without any guard."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, cwd="/")


def corners(width: int, height: int) -> np.ndarray:
    """Red and green above, blue and yellow below."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, YELLOW
    return picture


def clip_of(path: Path, picture: np.ndarray, *options: str, frames: int = 5) -> Path:
    """A clip that shows one picture."""
    still = path.with_name(path.name + ".png")
    Image.fromarray(picture).save(still)
    ffmpeg("-loop", "1", "-framerate", "25", "-i", still, "-frames:v", str(frames), *options, path)
    still.unlink()
    return path


def first_frame(path: Path, square_px: int | None = None) -> np.ndarray:
    """The first frame as `read_frames` gives it."""
    return next(iter(read_frames(path, probe_video(path, LIMITS), batch_frames=1, square_px=square_px)))[0]


def corner_colours(frame: np.ndarray) -> list[tuple[int, ...]]:
    """The colours well inside the four quarters, row by row."""
    height, width = frame.shape[:2]
    return [tuple(map(int, frame[y, x])) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]


def assert_colours(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], tolerance: int = 4) -> None:
    """Each channel within the tolerance."""
    assert np.abs(np.array(found) - np.array(wanted)).max() <= tolerance, (found, wanted)


@pytest.mark.parametrize(
    ("rotation", "wanted"),
    [
        (0, [RED, GREEN, BLUE, YELLOW]),
        (90, [BLUE, RED, YELLOW, GREEN]),
        (180, [YELLOW, BLUE, GREEN, RED]),
        (270, [GREEN, YELLOW, RED, BLUE]),
    ],
)
def test_rotation(tmp_path: Path, rotation: int, wanted: list[tuple[int, ...]]) -> None:
    """The facts say by how much the stored picture is turned clockwise to stand upright."""
    stored = clip_of(tmp_path / "stored.mp4", corners(128, 96), "-pix_fmt", "yuv444p", "-crf", "4")
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(-rotation), "-i", stored, "-c", "copy", path)
    facts = probe_video(path, LIMITS)
    assert facts.rotation_deg == rotation
    assert (facts.width, facts.height) == ((96, 128) if rotation in (90, 270) else (128, 96))
    assert_colours(corner_colours(first_frame(path)), wanted)
    assert_colours(corner_colours(first_frame(path, square_px=64)), wanted)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    picture = np.full((80, 80, 3), 255, np.uint8)
    picture[20:60, 30:50] = 0  # stored 20 x 40: a square of 40 when pixels are twice as wide
    path = clip_of(tmp_path / "wide.mp4", picture, "-vf", "setsar=2/1", "-pix_fmt", "yuv444p")
    facts = probe_video(path, LIMITS)
    assert (facts.width, facts.height) == (160, 80)
    dark = first_frame(path)[..., 0] < 128
    assert (dark.any(axis=0).sum(), dark.any(axis=1).sum()) == (40, 40)
    dark = first_frame(path, square_px=80)[..., 0] < 128
    assert (dark.any(axis=0).sum(), dark.any(axis=1).sum()) == (40, 40)


@pytest.mark.parametrize(("width", "height"), [(97, 81), (81, 131), (64, 300)])
def test_odd_sizes_and_the_centre_square(tmp_path: Path, width: int, height: int) -> None:
    path = clip_of(tmp_path / "odd.mkv", corners(width, height), "-pix_fmt", "yuv444p", "-crf", "4")
    assert first_frame(path).shape == (height, width, 3)
    square = first_frame(path, square_px=64)
    assert square.shape == (64, 64, 3)
    assert_colours(corner_colours(square), [RED, GREEN, BLUE, YELLOW])


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_range", "tv"), 3),
        (("-vf", "scale=out_color_matrix=smpte170m", "-colorspace", "smpte170m"), 3),
        (("-vf", "scale=out_color_matrix=bt709:out_range=pc", "-colorspace", "bt709", "-color_range", "pc"), 3),
        (("-vf", "scale=out_color_matrix=bt709,format=yuv420p10le", "-colorspace", "bt709", "-c:v", "libx265"), 4),
        (("-vf", "scale=out_color_matrix=bt601,setparams=colorspace=unknown"), 3),  # untagged and small
        (("-vf", "scale=1280:960:out_color_matrix=bt709,setparams=colorspace=unknown"), 3),  # untagged and HD
    ],
)
def test_colours_follow_the_tags(tmp_path: Path, options: tuple[str, ...], tolerance: int) -> None:
    filters = ("-vf", options[1] if "format" in options[1] else options[1] + ",format=yuv420p")
    quiet = ("-x265-params", "log-level=none") if "libx265" in options else ()
    path = clip_of(tmp_path / "colours.mp4", corners(128, 96), *filters, *options[2:], *quiet, "-crf", "2")
    assert_colours(corner_colours(first_frame(path)), [RED, GREEN, BLUE, YELLOW], tolerance)
    assert_colours(corner_colours(first_frame(path, square_px=64)), [RED, GREEN, BLUE, YELLOW], tolerance)


@pytest.mark.parametrize("name", ["a.webm", "b.webm", "a.gif", "a.webp"])
def test_transparency_lies_over_white(tmp_path: Path, name: str) -> None:
    rgba = np.zeros((96, 96, 4), np.uint8)  # invisible black
    rgba[:, 48:] = (*BLUE, 255)
    options = {
        "a.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "5", "-b:v", "0", "-cpu-used", "8"),
        "b.webm": ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", "-crf", "4", "-b:v", "2M"),
    }
    path = tmp_path / name
    if path.suffix == ".webm":
        clip_of(path, rgba, *options[name])
    else:
        pictures = [Image.fromarray(rgba), Image.fromarray(np.roll(rgba, 8, axis=0) // 1)]
        pictures[1].putpixel((90, 90), (*RED, 255))
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, disposal=2, lossless=True)
    assert probe_video(path, LIMITS).has_alpha
    for square_px in (None, 64):
        frame = first_frame(path, square_px)
        half = frame.shape[1] // 2
        assert_colours(corner_colours(frame), [(255, 255, 255), BLUE, (255, 255, 255), BLUE], 8)
        # Nothing of the invisible black may darken the edge: it goes from blue to white and nowhere else.
        # (A video has only half the colour resolution, so its stored edge pixel is mixed with black already.)
        assert frame[:, half - 4 : half + 4, 2].min() >= BLUE[2] - (45 if path.suffix == ".webm" else 2)


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for number in range(12):
        write_png(tmp_path / f"frame{number}.png", np.full((70, 90, 3), number * 20, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    facts = probe_frames_folder(tmp_path, Fraction(24000, 1001), LIMITS)
    assert (facts.media_type, facts.frames, facts.fps) == (FOLDER_MEDIA_TYPE, 12, "24000/1001")
    batches = list(read_frames(tmp_path, facts, batch_frames=5, square_px=64))
    assert [batch.shape for batch in batches] == [(5, 64, 64, 3), (5, 64, 64, 3), (2, 64, 64, 3)]
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == [number * 20 for number in range(12)]


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaRejected):
        probe_frames_folder(tmp_path, Fraction(25), LIMITS)
    write_png(tmp_path / "1.png", np.zeros((70, 90, 3), np.uint8))
    write_png(tmp_path / "2.png", np.zeros((90, 70, 3), np.uint8))
    with pytest.raises(MediaRejected, match="differ in size"):
        probe_frames_folder(tmp_path, Fraction(25), LIMITS)


def test_frames_come_in_order_and_in_batches_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "ramp.mkv"
    ffmpeg(*("-f", "lavfi", "-i", "color=s=64x64:r=25:d=1,geq=lum='16+N*8':cb=128:cr=128"), "-crf", "1", path)
    facts = probe_video(path, LIMITS)
    batches = list(read_frames(path, facts, batch_frames=8))
    assert [len(batch) for batch in batches] == [8, 8, 8, 1]
    grey = np.concatenate(batches)[:, 32, 32, 0].astype(float)
    assert np.allclose(grey, np.clip(np.arange(25) * 8 * 255 / 219, 0, 255), atol=3)


def test_nothing_is_left_of_an_iterator_that_is_closed(tmp_path: Path) -> None:
    path = clip_of(tmp_path / "clip.mp4", corners(640, 480), frames=100)
    facts = probe_video(path, LIMITS)
    frames = read_frames(path, facts, batch_frames=2)
    next(frames)
    assert len(decoding_children()) == 1
    frames.close()
    assert decoding_children() == []
    abandoned = read_frames(path, facts, batch_frames=2)
    next(abandoned)
    with pytest.raises(ZeroDivisionError):
        abandoned.throw(ZeroDivisionError())
    assert decoding_children() == []
    assert sum(len(batch) for batch in read_frames(path, facts, batch_frames=16)) == 100
    assert decoding_children() == []


def test_frames_are_decoded_only_when_they_are_taken(tmp_path: Path) -> None:
    path = clip_of(tmp_path / "clip.mp4", corners(640, 480), frames=200)
    frames = read_frames(path, probe_video(path, LIMITS), batch_frames=4)
    next(frames)
    (status,) = [Path(f"/proc/{pid}/stat") for pid in decoding_children()]
    before = -1.0
    for _ in range(50):  # until ffmpeg waits for somebody to take its output
        spent = sum(map(float, status.read_text().rsplit(")", 1)[1].split()[11:13]))
        if spent == before:
            break
        before = spent
        time.sleep(0.05)
    else:
        pytest.fail("ffmpeg goes on although nobody takes its frames")
    frames.close()


def test_another_number_of_frames_than_was_counted_is_an_error(tmp_path: Path) -> None:
    path = clip_of(tmp_path / "clip.mp4", corners(96, 96), frames=20)
    facts = probe_video(path, LIMITS)
    for frames in (19, 21):
        with pytest.raises(MediaRejected, match=f"of {frames}"):
            list(read_frames(path, facts.model_copy(update={"frames": frames}), batch_frames=8))
        assert decoding_children() == []


def test_a_stalled_decoder_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip_of(tmp_path / "clip.mp4", corners(96, 96))
    facts = probe_video(path, LIMITS)
    sleeper = tmp_path / "ffmpeg"
    header = tmp_path / "header"
    with media_process.Ffmpeg(media_guard.guarded_input(path, "video/mp4", max_pixels=10**6), log_level="info") as run:
        header.write_text("".join(f"{line}\n" for line in run.lines(timeout_s=10)))
    # Tells the header when there is no output to write, and then never gives a frame.
    sleeper.write_text(f'#!/bin/sh\ncase "$*" in *rawvideo*) exec sleep 60;; *) cat "{header}" >&2;; esac\n')
    sleeper.chmod(0o755)
    monkeypatch.setattr(media_process.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(sleeper))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    limits = LIMITS.model_copy(update={"decode_stall_timeout_s": 0.3})
    with pytest.raises(MediaRejected) as caught:
        list(read_frames(path, facts, batch_frames=8, limits=limits))
    assert caught.value.code == "media_timeout"
    assert decoding_children() == []


def test_a_reading_child_cannot_write(tmp_path: Path) -> None:
    target = tmp_path / "written.mp4"
    arguments = ["-f", "lavfi", "-i", "testsrc2=d=1", "-y", str(target)]
    with media_process.Ffmpeg(arguments) as child:
        assert child.finish(timeout_s=30) != 0
    assert not target.exists() or target.stat().st_size == 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    ffmpeg(*("-f", "lavfi", "-i", "color=s=640x480:r=30:d=20", "-preset", "ultrafast"), path)
    limits = LIMITS.model_copy(update={"video_max_frames": 10_000})

    def resident_kib() -> int:
        return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

    facts = probe_video(path, limits)
    frames = read_frames(path, facts, batch_frames=8)
    next(frames)
    before, highest = resident_kib(), 0
    for _ in frames:
        highest = max(highest, resident_kib())
    assert facts.frames == 600
    assert highest - before < 40_000  # one batch is 7 MiB; the clip is 530 MiB
