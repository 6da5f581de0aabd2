"""Avatars drawn ahead: frames of many of them, kept as bytes on the device that trains.

Drawing is some ten thousand small operations, whatever the number of frames. A GPU that draws a batch anew for every
step waits for them longer than it learns; drawn by the hundred and kept, a pair costs a look-up.

    group      two avatars, each in the same four poses: eight frames
    poses      0 and 1: two moments of a clip; 2: the head of 0 with another face; 3: a moment of another clip

So a pool has pairs of one avatar, pairs in which only the face moves, and, what filmed clips cannot have, the truth of
animation across identities: avatar A, driven by B, has to look as A does in B's pose.

Shapes: G groups, I = 2 identities of a group, P = 4 poses of a group, B batch, C channels, H W height and width of a
frame, S side of a close-up.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.avatar_drawing import draw
from model.data.avatar_identities import AvatarIdentities
from model.data.avatar_poses import HEAD_PARAMETERS, AvatarPoses
from model.data.avatar_sampling import sample_identities
from model.data.avatar_tracks import sample_moments
from model.data.avatars import Split, seeded_generator
from model.data.pairs import FramePairs, sent
from model.errors import ConfigError

GROUP_IDENTITIES, GROUP_POSES = 2, 4
_GROUPS_AT_ONCE = 64
_ALIKE = ((0, 2), (2, 0))
"""Poses that differ in the face alone."""
_APART = tuple((i, j) for i in range(GROUP_POSES) for j in range(GROUP_POSES) if i != j and (i, j) not in _ALIKE)


class DrawnGroups(NamedTuple):
    """Frames of groups of avatars: `frames_GIPCHW` uint8, and where the faces are, (x, y) in [-1, 1]."""

    frames_GIPCHW: Tensor
    faces_GP2: Tensor


def draw_groups(
    groups: range,
    size: int,
    *,
    seed: int = 0,
    split: Split = "train",
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> DrawnGroups:
    """Draw groups of avatars at `size` pixels; each is a function of (split, seed, its number).

    The frames are on `device`, the places of the faces on the CPU. `on_progress` is called with the avatars drawn and
    all of them.
    """
    frames_GIPCHW = torch.empty(
        (len(groups), GROUP_IDENTITIES, GROUP_POSES, 3, size, size), dtype=torch.uint8, device=device
    )
    faces_GP2 = torch.empty(len(groups), GROUP_POSES, 2)
    for start in range(0, len(groups), _GROUPS_AT_ONCE):
        some = groups[start : start + _GROUPS_AT_ONCE]
        rows = slice(start, start + len(some))
        who, poses = zip(*(_group(split, seed, index) for index in some), strict=True)
        identities = AvatarIdentities(*(torch.cat(fields) for fields in zip(*who, strict=True)))
        moments = AvatarPoses(*(torch.stack(fields) for fields in zip(*poses, strict=True)))
        # Every avatar of a group in every pose of it, in the order of `frames_GIPCHW`.
        rows_N = torch.arange(len(identities.head_size)).repeat_interleave(GROUP_POSES)
        each = AvatarPoses(*(field.repeat_interleave(GROUP_IDENTITIES, dim=0).flatten() for field in moments))
        frames_NCHW = draw(identities.select(rows_N), each, size, device=device)
        frames_GIPCHW[rows] = frames_NCHW.mul_(255.0).round_().to(torch.uint8).view(frames_GIPCHW[rows].shape)
        faces_GP2[rows] = torch.stack((moments.translation_x, moments.translation_y), dim=-1)
        if on_progress is not None:
            on_progress((start + len(some)) * GROUP_IDENTITIES, len(groups) * GROUP_IDENTITIES)
    return DrawnGroups(frames_GIPCHW, faces_GP2)


class AvatarPool:
    """Pairs of frames out of groups that were drawn ahead, on the device where those are. A `PairSource`.

    Half of the pairs are mirrored. In a share `close_ups` both frames are cut to the quarter of the picture around the
    face, so that mouth and eyes are twice as large.
    """

    def __init__(
        self,
        drawn: DrawnGroups,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        split: Split = "train",
        expression_pairs: float = 0.0,
        close_ups: float = 0.0,
        cross_identity_pairs: float = 0.0,
    ) -> None:
        """Take pairs from `drawn`.

        Args:
            drawn: from `draw_groups`, at a multiple of `size`; at twice or four times it for close-ups.
            size: height and width of the frames of a pair, in pixels.
            batch_size: pairs in a batch.
            seed: of what is taken.
            split: of what is taken.
            expression_pairs: share of the pairs in which the head rests and only the face moves.
            close_ups: share of the pairs that are cut around the face.
            cross_identity_pairs: share of the pairs whose driver is another avatar.

        Raises `ConfigError` with code `config_invalid` for sizes that do not go together.

        """
        drawn_size = drawn.frames_GIPCHW.shape[-1]
        if drawn_size % (size * (2 if close_ups else 1)):
            seen = f"{size}, and cut to half" if close_ups else f"{size}"
            raise ConfigError(
                "config_invalid",
                f"Avatars drawn at {drawn_size} pixels cannot be seen at {seen}.",
                "Draw them at a multiple of the frame's size, for close-ups at twice or four times it.",
            )
        self.drawn, self.size, self.batch_size, self.seed = drawn, size, batch_size, seed
        self.split: Split = split
        self.expression_pairs, self.close_ups = expression_pairs, close_ups
        self.cross_identity_pairs = cross_identity_pairs

    def batch(self, step: int) -> FramePairs:
        """Return the pairs of a step: equal for equal steps."""
        count, frames_GIPCHW = self.batch_size, self.drawn.frames_GIPCHW
        # Seeds of its own: a step must not look like the group of its number.
        generator = seeded_generator(self.split, self.seed ^ 0x5EED, step)

        def chance(share: float) -> Tensor:
            return torch.rand(count, generator=generator) < share

        def one_of(choices: int) -> Tensor:
            return torch.randint(choices, (count,), generator=generator)

        group_B, who_B = one_of(len(frames_GIPCHW)), one_of(GROUP_IDENTITIES)
        alike_B2, apart_B2 = torch.tensor(_ALIKE)[one_of(len(_ALIKE))], torch.tensor(_APART)[one_of(len(_APART))]
        poses_B2 = torch.where(chance(self.expression_pairs)[:, None], alike_B2, apart_B2)
        driver_B = torch.where(chance(self.cross_identity_pairs), 1 - who_B, who_B)
        jitter_B2 = 0.25 * (torch.rand(count, 2, generator=generator) - 0.5)
        corner_B2 = self._corners(self.drawn.faces_GP2[group_B[:, None], poses_B2].mean(dim=1) + jitter_B2)
        mirrored_B = chance(0.5).long()

        # One copy for all: each would wait for the device.
        chosen = torch.stack((group_B, who_B, driver_B, *poses_B2.unbind(1), *corner_B2.unbind(1), mirrored_B))
        group_B, who_B, driver_B, first_B, second_B, left_B, top_B, mirrored_B = sent(chosen, frames_GIPCHW.device)
        picked = [(who_B, first_B), (driver_B, second_B)]
        if self.cross_identity_pairs:
            picked.append((who_B, second_B))
        near = round(self.close_ups * count)
        mirrored_B111 = mirrored_B.bool()[:, None, None, None]
        frames = []
        for identity_B, pose_B in picked:
            bytes_BCHW = frames_GIPCHW[group_B, identity_B, pose_B]
            closer_BCSS = _cut(bytes_BCHW[:near], left_B[:near], top_B[:near])
            parts = [self._scaled(part) for part in (closer_BCSS, bytes_BCHW[near:]) if len(part)]
            frames_BCHW = torch.cat(parts)
            frames.append(torch.where(mirrored_B111, frames_BCHW.flip(-1), frames_BCHW))
        return FramePairs(*frames)

    def _corners(self, centre_B2: Tensor) -> Tensor:
        """Return the (left, top) pixel of the close-up around each centre, so that it lies within the frame."""
        side = self.drawn.frames_GIPCHW.shape[-1]
        corner_B2 = (centre_B2 + 1.0) * (side / 2) - side / 4
        return corner_B2.round().long().clamp(0, side - side // 2)

    def _scaled(self, bytes_BCHW: Tensor) -> Tensor:
        """Return float_BCHW in [0, 1] of the pairs' size: means of squares of pixels, as if it had been drawn so."""
        frames_BCHW = bytes_BCHW.float().div_(255.0)
        times = bytes_BCHW.shape[-1] // self.size
        return frames_BCHW if times == 1 else F.avg_pool2d(frames_BCHW, times)


def _group(split: Split, seed: int, index: int) -> tuple[AvatarIdentities, AvatarPoses]:
    """Return two avatars, and four poses for both; each field of the poses is (4,)."""
    generator = seeded_generator(split, seed, index)
    identities = sample_identities(GROUP_IDENTITIES, generator)
    clip, other = sample_moments(1, 2, generator), sample_moments(1, 2, generator)
    first, second = (AvatarPoses(*(field[0, moment : moment + 1] for field in clip)) for moment in range(2))
    face, elsewhere = (AvatarPoses(*(field[0, moment : moment + 1] for field in other)) for moment in range(2))
    same_head = face._replace(**{name: getattr(first, name) for name in HEAD_PARAMETERS})
    poses = zip(first, second, same_head, elsewhere, strict=True)
    return identities, AvatarPoses(*(torch.cat(fields) for fields in poses))


def _cut(bytes_BCHW: Tensor, left_B: Tensor, top_B: Tensor) -> Tensor:
    """Return bytes_BCSS: the square of half the side whose corner is at (left, top)."""
    device = bytes_BCHW.device
    steps_S = torch.arange(bytes_BCHW.shape[-1] // 2, device=device)
    rows_B1S1 = (top_B[:, None] + steps_S)[:, None, :, None]
    columns_B11S = (left_B[:, None] + steps_S)[:, None, None, :]
    batch_B111 = torch.arange(len(bytes_BCHW), device=device)[:, None, None, None]
    channels_1C11 = torch.arange(bytes_BCHW.shape[1], device=device)[None, :, None, None]
    return bytes_BCHW[batch_B111, channels_1C11, rows_B1S1, columns_B11S]
