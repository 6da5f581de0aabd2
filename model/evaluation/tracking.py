"""How well keypoints follow the pose of avatars, whose true pose is known.

Shapes: N frames, P parameters of the pose.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.data.avatars import AvatarPoses, Split, draw, sample_identities, sample_moments
from model.data.avatars import seeded_generator as seeded
from model.evaluation.pose_regression import jacobian_features, position_features, score
from model.inference.animator import Animator
from model.inference.pixels import to_pixels
from model.networks.keypoints import Keypoints

POSES_PER_IDENTITY = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracking:
    """R² for each parameter of `AvatarPoses`; None where it cannot be said (see `pose_regression.score`)."""

    method: str
    from_positions: dict[str, float | None]
    from_positions_and_jacobians: dict[str, float | None] | None
    """None for a model without Jacobians."""
    changes_from_positions: dict[str, float | None]
    """The same of differences from each identity's mean, of pose and of positions: where a face sits on its head
    differs from one to another, and is no movement. This is what relative motion uses."""


def measure_tracking(
    animators: Sequence[tuple[str, Animator]],
    *,
    identities: int,
    split: Split = "test",
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Tracking]:
    """Detect keypoints on `POSES_PER_IDENTITY` moments of each avatar; fit on the first half of them, score the rest.

    All animators see the same frames and have the same frame size.
    """
    # Index 1: other people than those of the cases, which are index 0.
    generator = seeded(split, seed, 1)
    people = sample_identities(identities, generator)
    poses_NP = sample_moments(identities, POSES_PER_IDENTITY, generator).flat()
    rows_N = torch.arange(identities).repeat_interleave(POSES_PER_IDENTITY)
    found: list[list[_Features]] = [[] for _ in animators]
    first = animators[0][1]
    for index in range(identities):
        rows = slice(index * POSES_PER_IDENTITY, (index + 1) * POSES_PER_IDENTITY)
        frames_BCHW = draw(
            people.select(rows_N[rows]), poses_NP.select(rows), first.config.frame_size, device=first.device
        )
        for (_, animator), kept in zip(animators, found, strict=True):
            kept.extend(_features(animator.keypoints(to_pixels(frames_BCHW))))
        if on_progress is not None:
            on_progress(index + 1, identities)
    num_fit = identities // 2 * POSES_PER_IDENTITY
    pose_NP = torch.stack(tuple(poses_NP), dim=1)
    return [_track(name, kept, pose_NP, num_fit) for (name, _), kept in zip(animators, found, strict=True)]


class _Features(NamedTuple):
    """Of one frame. Numbers, not tensors, for the reason that `scores` gives."""

    positions_F: list[float]
    with_jacobians_F: list[float] | None


def _features(keypoints: Keypoints) -> list[_Features]:
    positions_NF, both_NF = position_features(keypoints).tolist(), jacobian_features(keypoints)
    both = [None] * len(positions_NF) if both_NF is None else both_NF.tolist()
    return [_Features(*pair) for pair in zip(positions_NF, both, strict=True)]


def _track(name: str, kept: list[_Features], pose_NP: Tensor, num_fit: int) -> Tracking:
    both = [frame.with_jacobians_F for frame in kept if frame.with_jacobians_F is not None]
    positions_NF = torch.tensor([frame.positions_F for frame in kept])
    return Tracking(
        method=name,
        from_positions=_scores(positions_NF, pose_NP, num_fit),
        from_positions_and_jacobians=_scores(torch.tensor(both), pose_NP, num_fit) if both else None,
        changes_from_positions=_scores(within_identities(positions_NF), within_identities(pose_NP), num_fit),
    )


def within_identities(values_NX: Tensor) -> Tensor:
    """Return each frame's values less the mean of its identity, whose frames stand together."""
    values_IPX = values_NX.unflatten(0, (-1, POSES_PER_IDENTITY))
    return (values_IPX - values_IPX.mean(dim=1, keepdim=True)).flatten(0, 1)


def _scores(features_NF: Tensor, pose_NP: Tensor, num_fit: int) -> dict[str, float | None]:
    fit, test = slice(0, num_fit), slice(num_fit, None)
    scores = score(features_NF[fit], pose_NP[fit], features_NF[test], pose_NP[test])
    return dict(zip(AvatarPoses._fields, scores, strict=True))
