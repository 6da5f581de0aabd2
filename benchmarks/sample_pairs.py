"""Draws the sample pairs: `python -m benchmarks.sample_pairs`.

They are avatars of the test split, whom the model that ships has not seen. The first one is that of the demo; its clip
keeps the sound of the clip that is there.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from model.data.avatars import draw, rest_poses, sample_identities, sample_tracks, seeded_generator
from worker import media

OUTPUT = Path(__file__).resolve().parent.parent / "api" / "samples"
_SIZE_PX, _FPS = 256, 25
_COLOURS = 160


class Pair(NamedTuple):
    """Two files, and seeds of the test split: who is in the picture, who drives, and how they move."""

    picture: str
    clip: str
    source: int
    driver: int
    track: int
    frames: int = 50
    has_sound: bool = False


PAIRS = (
    Pair("source.png", "driving.mp4", 616, 635, 32, frames=107, has_sound=True),
    Pair("scarf.png", "scarf-driving.mp4", 523, 535, 28),
    Pair("glasses.png", "glasses-driving.mp4", 525, 513, 11),
)


def draw_pair(pair: Pair) -> None:
    """Write the picture and the clip of `pair`."""
    person = sample_identities(1, seeded_generator("test", pair.source, 0))
    picture_HWC = _bytes(draw(person, rest_poses(1), _SIZE_PX))[0]
    image = Image.fromarray(picture_HWC).quantize(_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    image.save(OUTPUT / pair.picture, optimize=True)
    driver = sample_identities(1, seeded_generator("test", pair.driver, 0))
    poses = sample_tracks(1, pair.frames, _FPS, seeded_generator("test", pair.track, 1)).flat()
    batches = (
        _bytes(draw(driver.select(torch.zeros(len(some.scale), dtype=torch.long)), some, _SIZE_PX))
        for some in (poses.select(slice(start, start + 10)) for start in range(0, pair.frames, 10))
    )
    path = OUTPUT / pair.clip
    fps, sound = Fraction(_FPS), path if pair.has_sound else None
    media.write_video(path, batches, fps=fps, width=_SIZE_PX, height=_SIZE_PX, audio_from=sound)


def _bytes(frames_BCHW: torch.Tensor) -> np.ndarray:
    return frames_BCHW.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8).numpy()


if __name__ == "__main__":
    for one in PAIRS:
        draw_pair(one)
