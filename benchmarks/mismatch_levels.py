"""How far apart the poses of real pictures and clips are: `python -m benchmarks.mismatch_levels PICTURES CLIPS`.

The table behind the levels of a preflight's mismatch score (docs/motion.md): distances at the best reference frame, of
frames of a clip to the same clip and of pictures to clips, upright and turned. PICTURES and CLIPS are folders. With
another bundle the distances are others, and `worker/engine/mismatch.py` has to follow.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from model.inference.reference_frame import constellation_distances
from worker import media, pictures
from worker.engine.crop import cut_driving, cut_source
from worker.engine.mismatch import score
from worker.engine.preflight import LOOKED_AT_MOST
from worker.engine.process import WorkerProcess
from worker.settings import UNLIMITED, Settings
from worker.squares import Framing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.inference.animator import Animator
    from model.networks.keypoints import Keypoints

_TURNS_DEG = (0, 10, 20, 30, 45, 90)
_OWN_FRAMES = (0.1, 0.5, 0.9)
"""Of a clip's length: which frames of it serve as pictures."""
_APART = 0.2
"""Of a clip's length: frames nearer than this to such a picture do not count."""


class _Clip(NamedTuple):
    keypoints: Keypoints
    has_face: bool
    own_THWC: NDArray[np.uint8]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mismatch_levels", description="Distances of poses.")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="avatars-256")
    given = parser.parse_args()
    animator = WorkerProcess(Settings()).animator(given.model)
    clips = [read_clip(path, animator) for path in sorted(given.clips.iterdir())]
    found: dict[str, list[float]] = defaultdict(list)
    for clip in clips:
        frames = len(clip.keypoints.positions_BK2)
        for share, picture_HWC in zip(_OWN_FRAMES, clip.own_THWC, strict=True):
            place = int(share * frames)
            far = [number for number in range(frames) if abs(number - place) >= _APART * frames]
            for turn in _TURNS_DEG if clip.has_face else ():
                own = animator.keypoints(turned(picture_HWC, turn)[None])
                found[f"a frame of the clip itself, turned by {turn}°"].append(
                    min(constellation_distances(own, clip.keypoints)[far].tolist())
                )
    for path in sorted(given.pictures.iterdir()):
        picture_HWC = pictures.load_image(path, limits=UNLIMITED)
        cut = cut_source(picture_HWC, "auto", 0, faces=True)
        side_px = animator.config.frame_size
        square_HWC = pictures.framed(picture_HWC, Framing(cut.square, side_px, side_px))
        for turn in _TURNS_DEG:
            own = animator.keypoints(turned(square_HWC, turn)[None])
            for clip in clips:
                kind = f"turned by {turn}°" if clip.has_face and cut.subjects else "no face in one of the two"
                if kind.startswith("turned") or not turn:
                    found[kind].append(constellation_distances(own, clip.keypoints).min().item())
    print("| pairs | how many | d, median (10% to 90%) | score |\n|---|---|---|---|")
    for kind, distances in found.items():
        low, middle, high = np.quantile(distances, (0.1, 0.5, 0.9))
        print(f"| {kind} | {len(distances)} | {middle:.3f} ({low:.3f} to {high:.3f}) | {score(float(middle)):.2f} |")


def read_clip(path: Path, animator: Animator) -> _Clip:
    """Return the keypoints of a clip, as a preflight looks at it, and three of its frames."""
    facts = media.probe_video(path, UNLIMITED)
    cut = cut_driving(path, facts, "auto", 0, faces=True, limits=UNLIMITED)
    framing = Framing(cut.square, animator.config.frame_size, animator.config.frame_size)
    step = -(-facts.frames // LOOKED_AT_MOST)
    batches = media.read_frames(path, facts, batch_frames=8, framing=framing, limits=UNLIMITED)
    frames_THWC = np.concatenate(list(batches))[::step]
    places = [int(share * len(frames_THWC)) for share in _OWN_FRAMES]
    return _Clip(animator.keypoints(frames_THWC), bool(cut.subjects), frames_THWC[places])


def turned(picture_HWC: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Return the picture turned about its middle; what comes in at the corners is its mirror image."""
    if not degrees:
        return picture_HWC
    edge = picture_HWC.shape[0] // 2
    wide_HWC = np.pad(picture_HWC, ((edge, edge), (edge, edge), (0, 0)), mode="reflect")
    wide_HWC = np.asarray(Image.fromarray(wide_HWC).rotate(degrees, Image.Resampling.BICUBIC))
    return np.ascontiguousarray(wide_HWC[edge:-edge, edge:-edge])


if __name__ == "__main__":
    main()
