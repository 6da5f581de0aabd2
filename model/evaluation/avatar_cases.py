"""Avatars as cases: their own movement, and the movement of others, for which the renderer knows the truth.

Shapes: N identities, T moments of each, B frames drawn at once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.avatar_poses import unlimited_relative_poses
from model.data.avatars import AVATARS, AvatarPoses, Split, draw, relative_poses, sample_identities, sample_moments
from model.data.avatars import seeded_generator as seeded
from model.evaluation.cases import Case
from model.inference.pixels import to_pixels

# Many moments cannot be repeated by another: a mouth that is closed cannot close further. So more are drawn than used.
_CANDIDATES_PER_FRAME = 4
_SAME_POSE = 1e-6


class AvatarCases:
    """Avatars nobody trained on. Each is animated by its own moments, and in two ways by those of the next avatar.

    The first moment of each is its calmest, with the mouth most closed and the eyes most open, as portraits are: it is
    the source, and the moment that relative motion is measured from. An avatar whose neighbour makes no movement that
    it can repeat has no relative case.
    """

    def __init__(
        self,
        *,
        size: int,
        identities: int,
        frames: int,
        split: Split = "test",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        generator = seeded(split, seed, 0)
        self._size, self._frames, self._device = size, frames, device
        self._identities = sample_identities(identities, generator)
        self._moments = calmest_first(sample_moments(identities, 1 + _CANDIDATES_PER_FRAME * frames, generator))
        neighbours = self._moments.select(_neighbours(identities))
        self._can_repeat_NT = can_repeat(self._moments, neighbours)
        self._facts: Mapping[str, Any] = {
            "data": AVATARS,
            "split": split,
            "seed": seed,
            "frame_size": size,
            "identities": identities,
            "driving_frames_per_avatar": frames,
            "source": "the calmest moment: mouth most closed, eyes most open",
            "driver_of_another": "the next avatar; the last one's is the first",
            "motion": {
                "reconstruction": "absolute",
                "cross-identity, relative": "relative, Jacobians too, from the driver's calmest moment; scale as it is",
                "cross-identity, absolute": "absolute",
            },
            "relative_moments": {
                "candidates": self._can_repeat_NT.numel(),
                "excluded_because_out_of_pose_ranges": int((~self._can_repeat_NT).sum()),
                "avatars_without_any": int((~self._can_repeat_NT).all(1).sum()),
            },
        }

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Return what was chosen and how."""
        return self._facts

    @property
    def notes(self) -> tuple[str, ...]:
        """Return how many moments could not be repeated."""
        counts = self._facts["relative_moments"]
        candidates, excluded, without = counts.values()
        told = f"Relative motion: of {candidates} candidate moments {excluded} are excluded, because the pose they "
        return (f"{told}ask for cannot be drawn; {without} of {len(self)} avatars have none left.",)

    def __len__(self) -> int:
        return len(self._moments.scale)

    def __getitem__(self, index: int) -> tuple[Case, ...]:
        """Return the cases of one avatar: two or three."""
        other = (index + 1) % len(self)
        own, driver = (self._moments.select(slice(who, who + 1)).flat() for who in (index, other))
        first, some = slice(0, 1), slice(1, 1 + self._frames)
        repeated = 1 + self._can_repeat_NT[index].nonzero()[:, 0][: self._frames]
        moved = relative_poses(own.select(first), driver.select(repeated), driver.select(first))
        source, own_frames, start, relative, relative_truth, absolute, absolute_truth = self._draw(
            (index, own.select(first)),
            (index, own.select(some)),
            (other, driver.select(first)),
            (other, driver.select(repeated)),
            (index, moved),
            (other, driver.select(some)),
            (index, driver.select(some)),
        )

        name, both = f"avatar {index}", f"avatar {index} as {other}"
        cases = (
            Case("reconstruction", name, source[0], None, own_frames, own_frames),
            Case("cross-identity, relative", both, source[0], start[0], relative, relative_truth),
            Case("cross-identity, absolute", both, source[0], None, absolute, absolute_truth),
        )
        return tuple(case for case in cases if len(case.driving_THWC))

    def _draw(self, *groups: tuple[int, AvatarPoses]) -> list[NDArray[np.uint8]]:
        """Draw each avatar in its poses, all in one batch, and return uint8_THWC for each group."""
        counts = [len(poses.scale) for _, poses in groups]
        rows_B = torch.cat([torch.full((count,), who) for (who, _), count in zip(groups, counts, strict=True)])
        poses = AvatarPoses(*(torch.cat(fields) for fields in zip(*(poses for _, poses in groups), strict=True)))
        pixels_BHWC = to_pixels(draw(self._identities.select(rows_B), poses, self._size, device=self._device))
        ends = torch.tensor(counts).cumsum(0).tolist()
        return [pixels_BHWC[end - count : end] for end, count in zip(ends, counts, strict=True)]


def calmest_first(moments_NT: AvatarPoses) -> AvatarPoses:
    """Exchange each avatar's first moment for the one with the mouth most closed and the eyes most open."""
    calmest_N = (moments_NT.mouth_open + moments_NT.blink_left + moments_NT.blink_right).argmin(1)
    count, num_moments = moments_NT.scale.shape
    order_NT = torch.arange(num_moments).repeat(count, 1)
    order_NT[torch.arange(count), calmest_N] = 0
    order_NT[:, 0] = calmest_N
    return AvatarPoses(*(field.gather(1, order_NT) for field in moments_NT))


def can_repeat(sources_NT: AvatarPoses, drivers_NT: AvatarPoses) -> Tensor:
    """Return bool_N(T-1): whether a source can take the pose of each moment after the driver's first one, moved from
    the driver's first moment to its own.
    """
    first, others = (slice(None), slice(0, 1)), (slice(None), slice(1, None))
    source = AvatarPoses(*(field[first] for field in sources_NT))
    driving = AvatarPoses(*(field[others] for field in drivers_NT))
    wanted = unlimited_relative_poses(source, driving, AvatarPoses(*(field[first] for field in drivers_NT)))
    fits = [(a - b).abs() <= _SAME_POSE for a, b in zip(wanted, wanted.limited(), strict=True)]
    return torch.stack(fits).all(0)


def _neighbours(count: int) -> Tensor:
    return torch.arange(1, count + 1) % count
