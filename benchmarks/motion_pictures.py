"""The pictures of docs/motion.md, from drawn heads only: `python -m benchmarks.motion_pictures`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.scratch import scratch_folder
from model.inference.smoothing import steady
from model.networks.keypoints import Keypoints
from worker import media, pictures
from worker.engine.animation import animate_video
from worker.engine.process import WorkerProcess
from worker.engine.view_drawing import beside
from worker.jobs import AnimationOptions
from worker.result_formats import VIEW_NAMES
from worker.settings import UNLIMITED, Settings

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "pictures"
_FPS = 25.0


def smoothing_picture() -> str:
    """A nodding keypoint with noise, above; steadied, below. Returns the table of docs/motion.md."""
    time_T = np.arange(150) / _FPS
    truth_T = 0.3 * np.sin(2 * np.pi * time_T) * np.exp(-time_T / 3)
    noisy_T = truth_T + np.random.default_rng(0).normal(0, 0.012, 150)
    image = Image.new("RGB", (900, 330), "white")
    draw = ImageDraw.Draw(image)
    rows = ["| `smoothing` | jitter | lag, frames | error of the path |", "|---|---|---|---|"]
    for strength in (0.0, 0.3, 0.5, 0.8, 1.0):
        positions = torch.from_numpy(noisy_T)[:, None, None].expand(-1, 1, 2).contiguous()
        shown_T = steady(Keypoints(positions, None), _FPS, strength).positions_BK2[:, 0, 0].numpy()
        jitter = np.sqrt(np.square(np.diff(shown_T, n=3)).mean()) / np.sqrt(np.square(np.diff(noisy_T, n=3)).mean())
        lag = min(range(-6, 7), key=lambda shift: float(np.square(np.roll(shown_T, -shift) - truth_T)[10:-10].mean()))
        rows.append(f"| {strength} | {jitter:.2f} | {lag} | {np.abs(shown_T - truth_T).mean():.4f} |")
        if strength in (0.0, 0.8):
            middle = 85 if strength == 0 else 245
            points = [(6 * number + 3, middle - 260 * value) for number, value in enumerate(shown_T)]
            draw.line([(6 * n + 3, middle - 260 * v) for n, v in enumerate(truth_T)], fill=(190, 190, 190), width=5)
            draw.line(points, fill=(20, 90, 200), width=2)
            draw.text((640, middle - 75), f"smoothing {strength}  (grey: the true motion)", fill="black")
    image.save(OUTPUT / "smoothing.png", optimize=True)
    return "\n".join(rows)


def paste_back_picture() -> None:
    """Two heads in a wide picture; the smaller one is animated inside it."""
    head_HWC = pictures.load_image(ROOT / "tests" / "samples" / "source.png")
    wide_HWC = np.empty((330, 620, 3), np.uint8)
    wide_HWC[:] = np.linspace((70, 110, 150), (190, 200, 180), 330, dtype=np.float64)[:, None].astype(np.uint8)
    wide_HWC[37:293, 20:276] = head_HWC
    wide_HWC[100:300, 380:580] = pictures.resized(head_HWC[:, ::-1], 200, 200)
    driving = ROOT / "tests" / "samples" / "driving.mp4"
    facts = media.probe_video(driving, UNLIMITED)
    animator = WorkerProcess(Settings()).animator("avatars-256")
    with scratch_folder() as folder:
        pictures.write_png(folder / "wide.png", wide_HWC)
        clip, frames = folder / "clip.mp4", folder / "frames"
        frames.mkdir()
        first = next(iter(media.read_frames(driving, facts, batch_frames=48)))[::4]
        media.write_video(clip, [first], fps=Fraction(25), width=256, height=256)
        report = animate_video(
            folder / "wide.png",
            clip,
            media.probe_video(clip, UNLIMITED),
            frames,
            animator,
            AnimationOptions(subject=1, paste_back=True, reference_frame="first"),
            limits=UNLIMITED,
            batch_frames=4,
        )
        moments = [pictures.load_image(frames / f"{number:06d}.png") for number in (0, 5, 11)]
    marked = Image.fromarray(wide_HWC)
    left, top, side, _ = map(int, report.source_crop.split(","))
    ImageDraw.Draw(marked).rectangle((left, top, left + side, top + side), outline=(220, 30, 30), width=3)
    sheet = np.concatenate([np.asarray(marked), moments[0]], 1), np.concatenate(moments[1:], 1)
    Image.fromarray(np.concatenate(sheet)).save(OUTPUT / "paste-back.png", optimize=True)


def views_picture() -> None:
    """The four views of the moment of the sample pair at which most had to be invented."""
    source, driving = (ROOT / "tests" / "samples" / name for name in ("source.png", "driving.mp4"))
    facts = media.probe_video(driving, UNLIMITED)
    frames_THWC = np.concatenate(list(media.read_frames(driving, facts, batch_frames=16)))[::4]
    with scratch_folder() as folder:
        clip = folder / "clip.mp4"
        media.write_video(clip, [frames_THWC], fps=Fraction(25), width=256, height=256)
        report = animate_video(
            source,
            clip,
            media.probe_video(clip, UNLIMITED),
            folder / "out.mp4",
            WorkerProcess(Settings()).animator("avatars-256"),
            AnimationOptions(views=",".join(VIEW_NAMES)),
            limits=UNLIMITED,
            batch_frames=4,
        )
        views = {}
        for view in report.views:
            batches = media.read_frames(view.path, media.probe_video(view.path, UNLIMITED), batch_frames=16)
            views[view.name] = np.concatenate(list(batches))
    moment = int(views["occlusion"].mean((1, 2, 3)).argmin())
    shown = {name: frames_THWC[moment] for name, frames_THWC in views.items()}
    above_HWC = beside([shown["comparison"], np.full_like(shown["occlusion"], 255)])
    below_HWC = beside([shown["keypoints"], shown["flow"], shown["occlusion"]])
    gap_HWC = np.full((4, above_HWC.shape[1], 3), 255, np.uint8)
    sheet = Image.fromarray(np.concatenate([above_HWC, gap_HWC, below_HWC]))
    draw = ImageDraw.Draw(sheet)
    draw.multiline_text((800, 90), "above: comparison\n\nbelow: keypoints, flow, occlusion", fill="black")
    sheet.save(OUTPUT / "views.png", optimize=True)


if __name__ == "__main__":
    print(smoothing_picture())
    paste_back_picture()
    views_picture()
