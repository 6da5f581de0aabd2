"""The `animato` command: files in, files out, and errors in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY, wait_until
from worker import media, pictures
from worker.settings import UNLIMITED

SOURCE = REPOSITORY / "tests" / "samples" / "source.png"
GOLDEN = REPOSITORY / "tests" / "golden"
# To look for faces takes as long as to animate: for tests of something else.
WHOLE = ("--source-crop", "none", "--driving-crop", "none")


def animato(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "animato.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environment},
    )


def one_line_error(run: subprocess.CompletedProcess[str], code: str) -> str:
    assert run.returncode == 1, run
    lines = [line for line in run.stderr.splitlines() if line.startswith("animato: ")]
    assert len(lines) == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert f"[{code}]" in lines[0], lines
    return lines[0]


@pytest.fixture(scope="module")
def frames_folder(tmp_path_factory: pytest.TempPathFactory, short_clip: Path) -> Path:
    """The short clip as a folder of PNG files, named so that only a natural order is right."""
    folder = tmp_path_factory.mktemp("frames")
    facts = media.probe_video(short_clip, UNLIMITED)
    number = 0
    for frames in media.read_frames(short_clip, facts, batch_frames=16, limits=UNLIMITED):
        for frame in frames:
            pictures.write_png(folder / f"frame{number}.png", frame)
            number += 1
    return folder


def test_video_to_video(short_clip: Path, tmp_path: Path) -> None:
    run = animato("animate", SOURCE, short_clip, "-o", tmp_path / "out.mp4", "--motion-transfer", "absolute")
    assert run.returncode == 0, run.stderr
    result = media.probe_video(tmp_path / "out.mp4", UNLIMITED)
    assert (result.frames, result.fps, result.has_audio) == (16, "25/1", True)
    assert re.search(r"16 frames, 25/1 frames/s, 256×256, with sound", run.stdout)


def test_the_name_decides_what_is_written(short_clip: Path, tmp_path: Path) -> None:
    video, folder = tmp_path / "OUT.MP4", tmp_path / "frames.mp4"
    assert animato("animate", SOURCE, short_clip, "-o", video, *WHOLE).returncode == 0
    assert media.probe_video(video, UNLIMITED).frames == 16
    assert animato("animate", SOURCE, short_clip, "-o", f"{folder}/", *WHOLE).returncode == 0
    assert len(list(folder.glob("*.png"))) == 16


def test_a_killed_command_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, REPOSITORY / "animato.py", "animate", SOURCE, SOURCE.with_name("driving.mp4")]
    with subprocess.Popen([*command, "-o", tmp_path / "out.mp4"], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(tmp_path.iterdir()), "it has begun to write", timeout_s=90)
        process.terminate()
        assert "[interrupted]" in (process.stderr.read() if process.stderr else "")
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_folder_of_frames_to_png_frames(frames_folder: Path, short_clip: Path, tmp_path: Path) -> None:
    run = animato("animate", SOURCE, frames_folder, "-o", f"{tmp_path}/out/", "--fps", "29.97", *WHOLE)
    assert run.returncode == 0, run.stderr
    assert "30000/1001 frames/s" in run.stdout
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{number:06d}.png" for number in range(16)]
    again = animato("animate", SOURCE, short_clip, "-o", f"{tmp_path}/video/", *WHOLE)
    assert again.returncode == 0, again.stderr
    for name in names:
        ours, theirs = (pictures.load_image(tmp_path / folder / name).astype(int) for folder in ("out", "video"))
        assert np.abs(ours - theirs).mean() < 2, "the same frames in the same order, but for the resampling"


def test_gif_keeps_its_own_timing(tmp_path: Path) -> None:
    gif = tmp_path / "driving.gif"
    frames = [Image.new("RGB", (96, 80), (20 * index, 100, 200)) for index in range(6)]
    frames[0].save(gif, save_all=True, append_images=frames[1:], duration=100)
    run = animato("animate", SOURCE, gif, "-o", tmp_path / "out.mp4")
    assert run.returncode == 0, run.stderr
    result = media.probe_video(tmp_path / "out.mp4", UNLIMITED)
    assert (result.frames, result.duration_s, result.has_audio) == (6, pytest.approx(0.6), False)


def test_errors_end_in_one_line(short_clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    out = tmp_path / "out.mp4"
    one_line_error(animato("animate", SOURCE, text, "-o", out), "unsupported_media_type")
    one_line_error(animato("animate", short_clip, short_clip, "-o", out), "unsupported_media_type")
    one_line_error(animato("animate", SOURCE, tmp_path / "none.mp4", "-o", out), "file_not_found")
    one_line_error(animato("animate", SOURCE, short_clip, "-o", tmp_path / "out.avi"), "invalid_options")
    one_line_error(animato("animate", SOURCE, short_clip, "-o", tmp_path / "no" / "out.mp4"), "invalid_options")
    line = one_line_error(animato("animate", SOURCE, short_clip, "-o", out, "--model", "nobody"), "unknown_model")
    assert "avatars-256" in line
    one_line_error(
        animato("animate", SOURCE, short_clip, "-o", out, "--precision", "fp16", "--device", "cpu"),
        "precision_unsupported",
    )
    one_line_error(animato("animate", SOURCE, short_clip, "-o", short_clip), "invalid_options")
    one_line_error(animato("animate", SOURCE, short_clip, "-o", "/proc/none/"), "file_error")
    line = one_line_error(
        animato("animate", SOURCE, short_clip, "-o", out, ANIMATO_BATCH_FRAMES="0"), "invalid_settings"
    )
    assert "ANIMATO_BATCH_FRAMES" in line
    one_line_error(animato("up", ANIMATO_LEASE_S="10", ANIMATO_HEARTBEAT_S="9"), "invalid_settings")
    assert animato("up", "--port", "99999").returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.mp4"]


def test_import_list_show_and_use_a_published_checkpoint(short_clip: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    run = animato(
        "models", "import", GOLDEN / "jacobian-legacy-cpk.pth.tar", "--config", GOLDEN / "jacobian.json", "-o",
        models / "tiny", "--notes", "A network of a test.",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    listed = animato("models", "list", ANIMATO_MODELS=str(models)).stdout
    assert re.search(r"^avatars-256 +256 px", listed, re.MULTILINE)
    assert re.search(r"^tiny +64 px +5 keypoints +A network of a test", listed, re.MULTILINE)
    shown = animato("models", "show", "tiny", ANIMATO_MODELS=str(models))
    assert '"num_keypoints": 5' in shown.stdout
    used = animato(
        "animate", SOURCE, short_clip, "-o", tmp_path / "o.mp4", "--model", "tiny", ANIMATO_MODELS=str(models)
    )
    assert used.returncode == 0, used.stderr
    assert "64×64" in used.stdout

    weights = next((models / "tiny").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    one_line_error(animato("models", "show", "tiny", ANIMATO_MODELS=str(models)), "bundle_damaged")
    one_line_error(
        animato("animate", SOURCE, short_clip, "-o", tmp_path / "p.mp4", "--model", "tiny", ANIMATO_MODELS=str(models)),
        "bundle_damaged",
    )


def test_import_errors_end_in_one_line(tmp_path: Path) -> None:
    pointer = tmp_path / "vox-cpk.pth.tar"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    bundle = tmp_path / "bundle"
    one_line_error(animato("models", "import", pointer, "--preset", "vox-256", "-o", bundle), "checkpoint_lfs_pointer")
    wrong = animato("models", "import", GOLDEN / "jacobian-cpk.pth.tar", "--preset", "vox-256", "-o", bundle)
    one_line_error(wrong, "checkpoint_mismatch")
    assert animato("models", "import", pointer, "--preset", "nope", "-o", bundle).returncode == 2
    assert not bundle.exists()


def test_help_needs_no_torch_and_no_celery() -> None:
    program = "import sys, animato; print([name for name in ('torch', 'celery', 'fastapi') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert shutil.which("animato", path=str(Path(sys.executable).parent)), "the command is installed"


def test_preflight_says_what_an_animation_would_be(tmp_path: Path, short_clip: Path) -> None:
    preview = tmp_path / "preview.png"
    run = animato("preflight", SOURCE, short_clip, "-o", preview, "--reference-frame", "3")
    assert run.returncode == 0, run.stderr
    facts = dict(line.split(maxsplit=1) for line in run.stdout.splitlines() if not line.startswith(" "))
    assert facts["source"].startswith("256×256, 1 face, number 0 taken, crop ")
    assert "reference frame  3\n" in run.stdout
    assert facts["estimate"].startswith("16 frames, about ")
    assert pictures.load_image(preview).shape == (256, 256, 3)
    one_line_error(animato("preflight", SOURCE, tmp_path / "none.mp4"), "file_not_found")


def test_a_motion_is_extracted_once_and_used(tmp_path: Path, short_clip: Path) -> None:
    motion, video = tmp_path / "talk.safetensors", tmp_path / "out.mp4"
    run = animato("motion", "extract", short_clip, "-o", motion, "--driving-crop", "none")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == f"{motion}: 16 frames, 25/1 frames/s, with sound, for avatars-256"
    run = animato("animate", SOURCE, "--motion", motion, "-o", video)
    assert run.returncode == 0, run.stderr
    result = media.probe_video(video, UNLIMITED)
    assert (result.frames, result.fps, result.has_audio) == (16, "25/1", True)
    motion.write_bytes(motion.read_bytes()[:-9])
    one_line_error(animato("animate", SOURCE, "--motion", motion, "-o", tmp_path / "other.mp4"), "motion_damaged")
    one_line_error(animato("animate", SOURCE, "-o", tmp_path / "other.mp4"), "invalid_options")
