"""How an avatar is posed: every parameter of its movement, with units and ranges.

Shapes: each field is one number an avatar, or (clips, frames) in a track. Left and right are the picture's.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class AvatarPoses(NamedTuple):
    """The poses of N avatars. `POSE_RANGES` says units and limits; `rest_poses` is the pose of zeros and scale 1."""

    translation_x: Tensor
    translation_y: Tensor
    scale: Tensor
    roll_rad: Tensor
    yaw_rad: Tensor
    pitch_rad: Tensor
    mouth_open: Tensor
    mouth_width: Tensor
    smile: Tensor
    gaze_x: Tensor
    gaze_y: Tensor
    blink_left: Tensor
    blink_right: Tensor
    brow_raise: Tensor
    brow_tilt: Tensor

    def select(self, rows: Tensor | slice) -> "AvatarPoses":
        """Return these poses, in this order; rows may repeat."""
        return AvatarPoses(*(field[rows] for field in self))

    def flat(self) -> "AvatarPoses":
        """Return the poses of a track, clip after clip, as one list."""
        return AvatarPoses(*(field.reshape(-1) for field in self))

    def limited(self) -> "AvatarPoses":
        """Return the poses within what can be drawn well."""
        return AvatarPoses(
            *(field.clamp(limit.low, limit.high) for field, limit in zip(self, POSE_RANGES, strict=True))
        )


class PoseRange(NamedTuple):
    """The limits between which a parameter is drawn well, and what it measures."""

    low: float
    high: float
    unit: str


class PoseRanges(NamedTuple):
    """One range for each field of `AvatarPoses`, under the same name."""

    translation_x: PoseRange = PoseRange(-0.5, 0.5, "half-widths of the frame; positive: to the right")
    translation_y: PoseRange = PoseRange(-0.4, 0.4, "half-heights of the frame; positive: down")
    scale: PoseRange = PoseRange(0.6, 1.5, "share of the usual size")
    roll_rad: PoseRange = PoseRange(-0.8, 0.8, "radians; positive: clockwise in the picture")
    yaw_rad: PoseRange = PoseRange(-0.9, 0.9, "radians; positive: the nose to the right of the picture")
    pitch_rad: PoseRange = PoseRange(-0.6, 0.6, "radians; positive: the nose down")
    mouth_open: PoseRange = PoseRange(0.0, 1.0, "0 closed, 1 wide open")
    mouth_width: PoseRange = PoseRange(-1.0, 1.0, "-1 pursed, 1 stretched; 1 is 30% wider than at rest")
    smile: PoseRange = PoseRange(-1.0, 1.0, "-1 corners down, 1 corners up")
    gaze_x: PoseRange = PoseRange(-1.0, 1.0, "share of the way to the eye's corner; positive: to the right")
    gaze_y: PoseRange = PoseRange(-1.0, 1.0, "share of the way to the lid; positive: down")
    blink_left: PoseRange = PoseRange(0.0, 1.0, "0 as open as the identity's eyes are, 1 closed")
    blink_right: PoseRange = PoseRange(0.0, 1.0, "as blink_left, of the right of the picture")
    brow_raise: PoseRange = PoseRange(-1.0, 1.0, "1 is up by 0.11 head units")
    brow_tilt: PoseRange = PoseRange(-1.0, 1.0, "-1 worried, 1 angry: 0.35 radians")


POSE_RANGES = PoseRanges()

HEAD_PARAMETERS = ("translation_x", "translation_y", "scale", "roll_rad", "yaw_rad", "pitch_rad")
"""The fields that move the whole head; the others are the face's expression."""


def rest_poses(count: int) -> AvatarPoses:
    """Return poses that look straight ahead, mouth closed, eyes open."""
    zeros = torch.zeros(count)
    return AvatarPoses(*(zeros.clone() for _ in AvatarPoses._fields))._replace(scale=torch.ones(count))


def relative_poses(source: AvatarPoses, driving: AvatarPoses, driving_reference: AvatarPoses) -> AvatarPoses:
    """Return the poses that a source should take when it repeats a driver's movement since its reference pose.

    source + (driving - reference) in every parameter, but the scale, which is source × driving / reference;
    then limited to what can be drawn. Poses of one avatar are broadcast over many.
    """
    return unlimited_relative_poses(source, driving, driving_reference).limited()


def unlimited_relative_poses(source: AvatarPoses, driving: AvatarPoses, driving_reference: AvatarPoses) -> AvatarPoses:
    """Return the same before it is limited: to see which poses cannot be drawn as they should be."""
    moved = AvatarPoses(*(s + (d - r) for s, d, r in zip(source, driving, driving_reference, strict=True)))
    return moved._replace(scale=source.scale * driving.scale / driving_reference.scale)
