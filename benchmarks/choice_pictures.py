"""Before and after, from drawn heads only: crop, reference frame, preflight: `python -m benchmarks.choice_pictures`."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.scratch import scratch_folder
from worker import media, pictures
from worker.engine.animation import animate_video
from worker.engine.preflight import look_ahead
from worker.engine.process import WorkerProcess
from worker.engine.view_drawing import beside
from worker.jobs import AnimationOptions
from worker.settings import UNLIMITED, Settings

if TYPE_CHECKING:
    from model.inference.animator import Animator

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "pictures"
SAMPLES = ROOT / "api" / "samples"
_PX = 256


def sample_frames(name: str, step: int) -> np.ndarray:
    """Every n-th frame of a sample clip: frames_THWC."""
    path = SAMPLES / name
    facts = media.probe_video(path, UNLIMITED)
    return np.concatenate(list(media.read_frames(path, facts, batch_frames=16)))[::step]


def animated(
    source_HWC: np.ndarray, driving_THWC: np.ndarray, animator: Animator, options: AnimationOptions, folder: Path
) -> tuple[np.ndarray, int]:
    """Frames of the animation, and the reference frame that was taken."""
    source, clip, frames = folder / "source.png", folder / "clip.mp4", folder / "frames"
    frames.mkdir(exist_ok=True)
    pictures.write_png(source, source_HWC)
    media.write_video(clip, [driving_THWC], fps=Fraction(25), width=_PX, height=_PX)
    facts = media.probe_video(clip, UNLIMITED)
    report = animate_video(source, clip, facts, frames, animator, options, limits=UNLIMITED, batch_frames=4)
    drawn = [pictures.load_image(frames / f"{number:06d}.png") for number in range(report.frames)]
    return np.stack(drawn), report.reference_frame


def labelled(pictures_HWC: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Pictures of one height beside each other, each under its words."""
    row = Image.fromarray(beside([picture_HWC for _, picture_HWC in pictures_HWC]))
    sheet = Image.new("RGB", (row.width, row.height + 18), "white")
    sheet.paste(row, (0, 18))
    gap = (row.width - sum(picture_HWC.shape[1] for _, picture_HWC in pictures_HWC)) // max(1, len(pictures_HWC) - 1)
    left = 0
    for words, picture_HWC in pictures_HWC:
        ImageDraw.Draw(sheet).text((left + 2, 3), words, fill="black")
        left += picture_HWC.shape[1] + gap
    return sheet


def crop_picture(animator: Animator, folder: Path) -> None:
    """A head at the side of a wide picture: the square in the middle, and the one around it."""
    wide_HWC = np.empty((_PX, 520, 3), np.uint8)
    wide_HWC[:] = np.linspace((70, 110, 150), (190, 200, 180), _PX)[:, None].astype(np.uint8)
    wide_HWC[60:256, 300:496] = pictures.resized(pictures.load_image(SAMPLES / "source.png"), 196, 196)
    driving_THWC = sample_frames("driving.mp4", 12)
    moment = len(driving_THWC) // 2
    shown = [("the picture", wide_HWC), ("driving frame", driving_THWC[moment])]
    for crop in ("none", "auto"):
        frames_THWC, _ = animated(wide_HWC, driving_THWC, animator, AnimationOptions(source_crop=crop), folder)
        shown.append((f"source_crop={crop}", frames_THWC[moment]))
    labelled(shown).save(OUTPUT / "crop.png", optimize=True)


def reference_picture(animator: Animator, folder: Path) -> None:
    """A clip that begins in the pose that is least like the source's."""
    from model.inference.reference_frame import constellation_distances

    source_HWC = pictures.load_image(SAMPLES / "glasses.png")
    driving_THWC = sample_frames("glasses-driving.mp4", 4)
    prepared = animator.prepare(source_HWC)
    distances = constellation_distances(prepared.keypoints, animator.keypoints(driving_THWC))
    driving_THWC = np.roll(driving_THWC, -int(distances.argmax()), 0)
    options = {name: AnimationOptions(reference_frame=name, driving_crop="none") for name in ("first", "auto")}
    first_THWC, _ = animated(source_HWC, driving_THWC, animator, options["first"], folder)
    auto_THWC, number = animated(source_HWC, driving_THWC, animator, options["auto"], folder)
    rows = [
        labelled(
            [
                ("source", source_HWC),
                (f"driving frame {moment}", driving_THWC[moment]),
                ("reference_frame=first", first_THWC[moment]),
                (f"reference_frame=auto ({number})", auto_THWC[moment]),
            ]
        )
        for moment in (0, number)
    ]
    sheet = Image.new("RGB", (rows[0].width, 2 * rows[0].height), "white")
    for place, row in enumerate(rows):
        sheet.paste(row, (0, place * row.height))
    sheet.save(OUTPUT / "reference-frame.png", optimize=True)


def preflight_picture(animator: Animator, folder: Path) -> None:
    """What a preflight says of a picture, and of the same one lying on its side."""
    upright_HWC = pictures.load_image(SAMPLES / "scarf.png")
    clip, shown = folder / "clip.mp4", []
    driving_THWC = sample_frames("scarf-driving.mp4", 4)
    media.write_video(clip, [driving_THWC], fps=Fraction(25), width=_PX, height=_PX)
    for words, source_HWC in (("upright", upright_HWC), ("turned", np.rot90(upright_HWC).copy())):
        source = folder / "source.png"
        pictures.write_png(source, source_HWC)
        facts = media.probe_video(clip, UNLIMITED)
        found = look_ahead(source, clip, facts, animator, AnimationOptions(), limits=UNLIMITED, batch_frames=4)
        preview_HWC = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.preview.data))).convert("RGB"))
        said = f"preview: {found.mismatch.score:.2f}, {found.mismatch.level}"
        shown += [(words, source_HWC), (said, preview_HWC)]
    labelled(shown).save(OUTPUT / "preflight.png", optimize=True)


if __name__ == "__main__":
    shipped = WorkerProcess(Settings()).animator("avatars-256")
    with scratch_folder() as folder:
        for draw in (crop_picture, reference_picture, preflight_picture):
            draw(shipped, folder)
