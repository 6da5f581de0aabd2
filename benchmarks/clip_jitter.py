"""How much `smoothing` steadies the keypoints of a real clip: `python -m benchmarks.clip_jitter CLIP [--model NAME]`.

Jitter is the root mean square of third differences of the keypoints, against that without smoothing. Lag is the shift
in frames at which the steadied keypoints fit the raw ones best. Off: how far they are from the raw ones, in
pixels of a frame of 256. Movement is how far the raw keypoints go from their mean, in the same pixels.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np

from model.inference.smoothing import steady
from worker import media
from worker.engine.crop import cut_driving
from worker.engine.motion import read_motion
from worker.engine.process import WorkerProcess
from worker.settings import UNLIMITED, Settings
from worker.squares import Framing

_PIXELS = 128
"""Of half a frame: what 1 means in a keypoint's position."""
_MOST_LAG = 4


def main() -> None:
    """Print the table for one clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default="avatars-256")
    arguments = parser.parse_args()
    animator = WorkerProcess(Settings()).animator(arguments.model)
    facts = media.probe_video(arguments.clip, UNLIMITED)
    cut = cut_driving(arguments.clip, facts, "auto", 0, faces=True, limits=UNLIMITED)
    side_px = animator.config.frame_size
    frames = media.read_frames(
        arguments.clip, facts, batch_frames=8, framing=Framing(cut.square, side_px, side_px), limits=UNLIMITED
    )
    raw = read_motion(animator, frames, cut.seen_at).keypoints
    raw_TK2 = raw.positions_BK2.numpy()
    movement = np.square(raw_TK2 - raw_TK2.mean(0)).sum(-1).mean() ** 0.5 * _PIXELS
    print(f"{facts.frames} frames at {facts.fps}; movement {movement:.1f} px")
    print("| `smoothing` | jitter | lag, frames | off, px |\n|---|---|---|---|")
    for strength in (0.0, 0.3, 0.5, 0.8, 1.0):
        shown_TK2 = steady(raw, float(Fraction(facts.fps)), strength).positions_BK2.numpy()
        jitter = _jitter(shown_TK2) / _jitter(raw_TK2)
        lag = min(range(-_MOST_LAG, _MOST_LAG + 1), key=lambda shift: _difference(shown_TK2, raw_TK2, shift))
        off = np.square(shown_TK2 - raw_TK2).sum(-1).mean() ** 0.5 * _PIXELS
        print(f"| {strength} | {jitter:.2f} | {lag} | {off:.2f} |")


def _jitter(positions_TK2: np.ndarray) -> float:
    return float(np.square(np.diff(positions_TK2, n=3, axis=0)).mean() ** 0.5)


def _difference(shown_TK2: np.ndarray, raw_TK2: np.ndarray, shift: int) -> float:
    inner = slice(_MOST_LAG, len(raw_TK2) - _MOST_LAG)
    return float(np.square(np.roll(shown_TK2, -shift, axis=0)[inner] - raw_TK2[inner]).mean())


if __name__ == "__main__":
    main()
