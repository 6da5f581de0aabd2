"""How unlike the pose of the source is to the driving frame that its motion is measured from, as a number for people.

The number is the distance of the two constellations of keypoints (`model.inference.reference_frame`), squeezed into
0 to 1; its levels were set on real pairs (docs/motion.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.preflights import Mismatch

if TYPE_CHECKING:
    from model.networks.keypoints import Keypoints

HALF = 0.05
"""The distance at which the score is one half."""
FAIR, POOR = 0.55, 0.63
"""From these scores on."""

_FAIR_HINT = (
    "The picture is not quite in the pose of any frame of the video: expect some distortion. A picture that faces the "
    "same way, upright and of the same cut, follows better."
)
_POOR_HINT = (
    "The picture is in no pose that the video shows: the result will be distorted. Look at both crops first (they must "
    "show the same part of the subject, upright); then try a picture that faces the same way, or another video."
)
_BETTER_FRAME_HINT = (
    "Other frames of the video are much more like the picture than the chosen reference frame: reference_frame=auto "
    "takes the best one."
)
_MUCH = 0.1
"""Of the score."""


def judged(source: Keypoints, driving: Keypoints, place: int) -> Mismatch:
    """The mismatch of the source, batch 1, and the driving frame at `place`; with a hint unless it is good."""
    from model.inference.reference_frame import constellation_distances, nearest_frame
    from model.networks.keypoints import on_device

    own = on_device(source, driving.positions_BK2.device)
    distances_T = constellation_distances(own, driving).nan_to_num(float("inf"))
    chosen = score(float(distances_T[place]))
    if chosen < FAIR:
        return Mismatch(score=chosen, level="good", hint=None)
    level, hint = ("fair", _FAIR_HINT) if chosen < POOR else ("poor", _POOR_HINT)
    best = nearest_frame(own, driving)
    if score(float(distances_T[best])) < chosen - _MUCH:
        hint = _BETTER_FRAME_HINT
    return Mismatch(score=chosen, level=level, hint=hint)


def score(distance: float) -> float:
    """0 for the same pose, 1/2 at `HALF`, towards 1 for constellations that have nothing in common."""
    return round(1 - HALF / (HALF + distance), 3)
