"""Data sets made of clips: pairs to train on, whole clips to evaluate on.

Both decode what is not in the cache when they are made, and leave out, by name and reason in `problems`, what cannot
be used. See `clip_files` for the layout of the folder and `docs/data.md` for all of it.

Shapes: B batch, T frames, C channels, H W height and width.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.augmentation import NO_AUGMENTATION, Augmentation, augment
from model.data.clip_cache import CachedClip, CacheProgress, ClipCache, ClipProblem
from model.data.clip_files import DataError, Split, list_clips, select
from model.data.pairs import FramePairs

# Names of the random streams of a data set.
_ORDER_STREAM, _PAIR_STREAM = 0, 1


class Clip(NamedTuple):
    """A whole clip."""

    name: str
    """Its path below the data set's folder."""
    identity: str
    frames_THWC: NDArray[np.uint8]
    """RGB; mapped from the cache and read-only."""


class ClipPairs:
    """Pairs of frames of one clip; a `PairSource`.

    An epoch visits every clip once, in an order of its own; with `id_sampling` every identity once, each time with one
    of its clips by chance, as the published configurations with many clips of a person want it. The two frames are
    different ones of the clip, the earlier one the source unless `augmentation` flips the time.

    `batch(step)` depends on the seed, the step and the clips, on nothing else: neither on the process nor on what was
    asked before. The object is small and can be pickled; every process maps the same files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        frame_size: int,
        batch_size: int,
        seed: int = 0,
        split: Split = "train",
        id_sampling: bool = False,
        augmentation: Augmentation = NO_AUGMENTATION,
        cache_dir: Path | None = None,
        max_cache_bytes: int | None = None,
        on_progress: Callable[[CacheProgress], None] | None = None,
    ) -> None:
        self.frame_size, self.batch_size, self.seed = frame_size, batch_size, seed
        self.augmentation = augmentation
        self.clips, self.problems, self.cache_bytes = _prepare(
            folder, split, frame_size, cache_dir, max_cache_bytes, on_progress
        )
        groups: dict[str, list[CachedClip]] = {}
        for clip in self.clips:
            groups.setdefault(clip.clip.identity if id_sampling else clip.clip.name, []).append(clip)
        self._groups = tuple(tuple(group) for _, group in sorted(groups.items()))

    @property
    def pairs_per_epoch(self) -> int:
        """Return how many pairs visit every clip, or with `id_sampling` every identity, once."""
        return len(self._groups)

    @property
    def fingerprint(self) -> str:
        """Return a hash of all that the pairs depend on but seed and augmentation: to see that a resumed run goes on
        with the same clips.
        """
        lines = [f"{clip.clip.name}\0{clip.key}\0{len(self._groups)}" for clip in self.clips]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def batch(self, step: int) -> FramePairs:
        """Return the pairs of a step."""
        rng = np.random.default_rng((self.seed, _PAIR_STREAM, step))
        size = self.frame_size
        frames_2BHWC = np.empty((2, self.batch_size, size, size, 3), np.uint8)
        for row, group in enumerate(self._groups_of(step)):
            clip = group[int(rng.integers(len(group)))]
            first, second = sorted(rng.choice(clip.num_frames, size=2, replace=False).tolist())
            frames_THWC = clip.map_frames()
            frames_2BHWC[0, row], frames_2BHWC[1, row] = frames_THWC[first], frames_THWC[second]
        # Contiguous before it becomes floats: the other order takes three times as long.
        frames_2BCHW = torch.from_numpy(frames_2BHWC).permute(0, 1, 4, 2, 3).contiguous().float().div_(255)
        pairs = FramePairs(frames_2BCHW[0], frames_2BCHW[1])
        if self.augmentation == NO_AUGMENTATION:
            return pairs
        return augment(pairs, self.augmentation, torch.Generator().manual_seed(int(rng.integers(2**63))))

    def _groups_of(self, step: int) -> Iterator[tuple[CachedClip, ...]]:
        """Yield the clips to choose from for each row: epochs follow each other without a gap."""
        count = len(self._groups)
        orders: dict[int, NDArray[np.int64]] = {}
        for item in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, place = divmod(item, count)
            if epoch not in orders:
                orders[epoch] = np.random.default_rng((self.seed, _ORDER_STREAM, epoch)).permutation(count)
            yield self._groups[int(orders[epoch][place])]


class ClipSet(Sequence[Clip]):
    """The clips of a split, whole and in the order of their names."""

    def __init__(
        self,
        folder: Path,
        *,
        frame_size: int,
        split: Split = "test",
        cache_dir: Path | None = None,
        max_cache_bytes: int | None = None,
        on_progress: Callable[[CacheProgress], None] | None = None,
    ) -> None:
        self.frame_size = frame_size
        self.clips, self.problems, self.cache_bytes = _prepare(
            folder, split, frame_size, cache_dir, max_cache_bytes, on_progress
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:  # type: ignore[override]
        cached = self.clips[index]
        return Clip(cached.clip.name, cached.clip.identity, cached.map_frames())


def _prepare(
    folder: Path,
    split: Split,
    frame_size: int,
    cache_dir: Path | None,
    max_cache_bytes: int | None,
    on_progress: Callable[[CacheProgress], None] | None,
) -> tuple[tuple[CachedClip, ...], tuple[ClipProblem, ...], int]:
    files = select(list_clips(folder), split)
    prepared = ClipCache(cache_dir, frame_size, max_bytes=max_cache_bytes).prepare(files, on_progress)
    usable = tuple(clip for clip in prepared.clips if clip.num_frames > 1)
    too_short = tuple(
        ClipProblem(clip.clip.name, DataError("clip_too_short", "It has one frame; a pair needs two."))
        for clip in prepared.clips
        if clip.num_frames < 2
    )
    problems = tuple(sorted((*prepared.problems, *too_short)))
    if not usable:
        reason = f"The first: {problems[0].name}: {problems[0].error.detail}"
        raise DataError("data_empty", f"None of the {len(files)} {split} clips of {folder} can be used.", reason)
    return usable, problems, prepared.size_bytes
