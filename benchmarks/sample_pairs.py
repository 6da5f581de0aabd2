"""Draws the sample pairs that the page offers beside the first one: `python -m benchmarks.sample_pairs`.

They are avatars of the test split, whom the model that ships has not seen.
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
_SIZE_PX, _FPS, _FRAMES = 256, 25, 50
_COLOURS = 160


class Pair(NamedTuple):
    """Seeds of the test split: who is in the picture, who drives, and how they move."""

    name: str
    source: int
    driver: int
    track: int


PAIRS = (Pair("scarf", 523, 535, 28), Pair("glasses", 525, 513, 11))


def draw_pair(pair: Pair) -> None:
    """Write the picture and the clip of `pair`."""
    person = sample_identities(1, seeded_generator("test", pair.source, 0))
    picture_HWC = _bytes(draw(person, rest_poses(1), _SIZE_PX))[0]
    image = Image.fromarray(picture_HWC).quantize(_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    image.save(OUTPUT / f"{pair.name}.png", optimize=True)
    driver = sample_identities(1, seeded_generator("test", pair.driver, 0))
    poses = sample_tracks(1, _FRAMES, _FPS, seeded_generator("test", pair.track, 1)).flat()
    batches = (
        _bytes(draw(driver.select(torch.zeros(len(some.scale), dtype=torch.long)), some, _SIZE_PX))
        for some in (poses.select(slice(start, start + 10)) for start in range(0, _FRAMES, 10))
    )
    path = OUTPUT / f"{pair.name}-driving.mp4"
    media.write_video(path, batches, fps=Fraction(_FPS), width=_SIZE_PX, height=_SIZE_PX)


def _bytes(frames_BCHW: torch.Tensor) -> np.ndarray:
    return frames_BCHW.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8).numpy()


if __name__ == "__main__":
    for one in PAIRS:
        draw_pair(one)
