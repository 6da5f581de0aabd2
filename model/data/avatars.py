"""Avatars: endlessly many cartoon heads that move, drawn while training. The category of the model that ships.

    identities = sample_identities(8, generator)        who they are
    poses = sample_tracks(8, 50, 25.0, generator)       how they move
    frames_BCHW = draw(identities, moment, 128)         any of those in any of these

Because identity and pose are apart, A in the pose of B can be drawn: the truth for animation across identities, which
no filmed data set has. `relative_poses` says which pose that is in relative motion.

Shapes: B batch, C channels, H W height and width, T frames of a clip.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import imageio_ffmpeg
import torch
from torch import Tensor

from model.data.avatar_drawing import draw
from model.data.avatar_identities import AvatarIdentities
from model.data.avatar_poses import (
    HEAD_PARAMETERS,
    POSE_RANGES,
    AvatarPoses,
    PoseRange,
    relative_poses,
    rest_poses,
)
from model.data.avatar_sampling import sample_identities
from model.data.avatar_tracks import sample_moments, sample_tracks
from model.data.clip_files import DataError
from model.data.pairs import FramePairs

Split = Literal["train", "test"]
P = TypeVar("P", AvatarIdentities, AvatarPoses)

AVATARS = "avatars"
"""The name of this data set where clips would be a folder."""

__all__ = [
    "POSE_RANGES",
    "AvatarIdentities",
    "AvatarPairs",
    "AvatarPoses",
    "PoseRange",
    "Split",
    "draw",
    "relative_poses",
    "rest_poses",
    "sample_identities",
    "sample_moments",
    "sample_tracks",
    "seeded_generator",
    "write_clips",
]

_SPLITS: tuple[Split, ...] = ("train", "test")
_CLIP_FRAMES_AT_ONCE = 32
_CLOSE_UP = (2.4, 1.3)
"""How many times larger than usual a face is in a close-up: at most, at least."""


def seeded_generator(split: Split, seed: int, index: int) -> torch.Generator:
    """Return the generator of one step or clip: a function of its arguments, and no state of any other.

    Training draws from even seeds, testing from odd ones, so that nobody in one is in the other.
    """
    mixed = _scramble(_scramble(seed) + index)
    # The generator keeps 32 bits of a seed.
    return torch.Generator().manual_seed((mixed & 0xFFFFFFFE) | _SPLITS.index(split))


def _scramble(value: int) -> int:
    """Mix the bits of a number (splitmix64), so that neighbouring seeds have nothing in common."""
    mask = 0xFFFFFFFFFFFFFFFF
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


class AvatarPairs:
    """Pairs of frames of avatars nobody has seen before: a data set without an end and without files.

    The two frames of a pair are two moments of one clip, up to 20 seconds apart; for one pair in four they are of two
    clips of the same avatar, which are further apart in pose. In a share `expression_pairs` the head rests and only
    the face moves, and in a share `close_ups` the camera is near the face: beside a moving head, and a twelfth of the
    frame wide, a mouth is too small for its error to be learned from. In a share `cross_identity_pairs` the driver is
    another avatar, and the truth the source's avatar in the driver's pose.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        split: Split = "train",
        expression_pairs: float = 0.0,
        close_ups: float = 0.0,
        cross_identity_pairs: float = 0.0,
    ) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.expression_pairs, self.close_ups = expression_pairs, close_ups
        self.cross_identity_pairs = cross_identity_pairs
        self.split: Split = split
        self.device = torch.device(device)

    def batch(self, step: int) -> FramePairs:
        """Return the pairs of a step: equal for equal steps, in every process."""
        identities, poses = self.parameters(step)
        return FramePairs(*draw(identities, poses, self.size, device=self.device).split(self.batch_size))

    def parameters(self, step: int) -> tuple[AvatarIdentities, AvatarPoses]:
        """Return who is drawn in a step, and how: all sources, all driving frames, and all truths if there are any."""
        generator = seeded_generator(self.split, self.seed, step)
        identities = sample_identities(self.batch_size, generator)
        track = sample_moments(self.batch_size, 2, generator)
        other = sample_moments(self.batch_size, 1, generator)
        jumps_B = torch.rand(self.batch_size, generator=generator) < 0.25
        rests_B = torch.rand(self.batch_size, generator=generator) < self.expression_pairs
        source = AvatarPoses(*(field[:, 0] for field in track))
        pairs = zip(track, other, strict=True)
        # A resting head's other expression is of another clip too: further away than most moments of one.
        driving = AvatarPoses(*(torch.where(jumps_B | rests_B, new[:, 0], field[:, 1]) for field, new in pairs))
        rested = {name: torch.where(rests_B, getattr(source, name), getattr(driving, name)) for name in HEAD_PARAMETERS}
        driving = driving._replace(**rested)
        near_B = torch.rand(self.batch_size, generator=generator) < self.close_ups
        nearest, furthest = _CLOSE_UP
        zoom_B = furthest * (nearest / furthest) ** torch.rand(self.batch_size, generator=generator)
        zoom_B = torch.where(near_B, zoom_B, 1.0)
        source, driving = (poses._replace(scale=poses.scale * zoom_B) for poses in (source, driving))
        who, poses = [identities, identities], [source, driving]
        if self.cross_identity_pairs:
            # The driver is somebody else; the truth is the source's avatar in the driver's pose.
            crossed_B = torch.rand(self.batch_size, generator=generator) < self.cross_identity_pairs
            others = sample_identities(self.batch_size, generator)
            rows_B = torch.arange(self.batch_size) + self.batch_size * crossed_B
            who = [identities, _joined(AvatarIdentities, [identities, others]).select(rows_B), identities]
            poses.append(driving)
        return _joined(AvatarIdentities, who), _joined(AvatarPoses, poses)


def _joined(kind: type[P], parts: list[P]) -> P:
    return kind(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def write_clips(
    folder: Path,
    *,
    clips: int,
    frames: int = 75,
    size: int = 128,
    fps: float = 25.0,
    seed: int = 0,
    split: Split = "train",
    clips_per_identity: int = 1,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write MP4 clips named `id00001#000.mp4` (identity, clip), as data sets of talking heads name them.

    A clip is a function of (split, seed, its number): a longer run under the same seed begins with the same clips.
    `on_progress` is called with clips written and clips in all. Returns the files.

    Raises `ValueError` for a size that H.264 cannot hold (odd), `DataError` with code `data_disk_short` for a clip that
    could not be written whole.
    """
    if size % 2:
        raise ValueError(f"a video's width must be even, not {size}")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for index in range(clips):
        person, clip = divmod(index, clips_per_identity)
        identities = sample_identities(1, seeded_generator(split, seed, person))
        # Tracks have seeds of their own, after all identities.
        track = sample_tracks(1, frames, fps, seeded_generator(split, _scramble(seed + 1), index))
        path = folder / f"id{person:05d}#{clip:03d}.mp4"
        _write_clip(path, identities, track.flat(), size, fps, device)
        written.append(path)
        if on_progress is not None:
            on_progress(len(written), clips)
    return written


def _write_clip(
    path: Path, identities: AvatarIdentities, poses: AvatarPoses, size: int, fps: float, device: torch.device | str
) -> None:
    # Written beside and renamed: a clip that exists is whole. Hidden: half a clip is no clip of a data set.
    partial = path.with_name(f".{path.stem}.partial.mp4")
    try:
        _encode(partial, identities, poses, size, fps, device)
        _require_whole(partial, len(poses.scale))
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _require_whole(path: Path, frames: int) -> None:
    """Look at what was written: the library does not tell how ffmpeg ended."""
    try:
        written, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    except RuntimeError:
        written = 0
    if written != frames:
        raise DataError(
            "data_disk_short", f"Only {written} of {frames} frames could be written to {path.parent}.", "Make room."
        )


def _encode(
    path: Path, identities: AvatarIdentities, poses: AvatarPoses, size: int, fps: float, device: torch.device | str
) -> None:
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (size, size),
        fps=fps,  # pyright: ignore[reportArgumentType]
        codec="libx264",
        quality=None,  # pyright: ignore[reportArgumentType]
        macro_block_size=2,
        output_params=["-crf", "14", "-preset", "medium"],
        ffmpeg_log_level="error",
    )
    writer.send(None)
    try:
        for start in range(0, len(poses.scale), _CLIP_FRAMES_AT_ONCE):
            moments = poses.select(slice(start, start + _CLIP_FRAMES_AT_ONCE))
            same = identities.select(torch.zeros(len(moments.scale), dtype=torch.long))
            writer.send(_to_bytes(draw(same, moments, size, device=device)))
    finally:
        writer.close()


def _to_bytes(frames_BCHW: Tensor) -> bytes:
    pixels_BHWC = frames_BCHW.permute(0, 2, 3, 1).mul(255.0).round().to(torch.uint8)
    return pixels_BHWC.cpu().contiguous().numpy().tobytes()
