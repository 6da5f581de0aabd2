"""Clips as cases: each is rebuilt from its first frame, as the paper evaluates reconstruction.

Shapes: T frames.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.data.clip_files import Split
from model.data.clips import ClipSet
from model.evaluation.cases import Case


class ClipCases:
    """The clips of one split. The source is a clip's first frame, the driving frames are spread over the others.

    Motion is absolute; since the source is the driver's own first frame, relative motion would be the same.
    Raises `DataError` as `ClipSet` does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        frames: int,
        split: Split = "test",
        cache_dir: Path | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._clips = ClipSet(
            folder,
            frame_size=size,
            split=split,
            cache_dir=cache_dir,
            on_progress=None if on_progress is None else lambda cached: on_progress(cached.done, cached.total),
        )
        self._frames = frames
        self._facts = {
            "data": "clips",
            "split": split,
            "frame_size": size,
            "clips": [clip.clip.name for clip in self._clips.clips],
            "identities": len({clip.clip.identity for clip in self._clips.clips}),
            "driving_frames_per_clip": f"at most {frames}, evenly spaced, the last frame among them",
            "source": "the first frame of the clip",
            "motion": {"reconstruction": "absolute"},
        }

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Return what was chosen and how."""
        return self._facts

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the clips that could not be used."""
        return tuple(f"Left out: {name}: {error.detail}" for name, error in self._clips.problems)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Case, ...]:
        """Return the clip's one case."""
        clip = self._clips[index]
        count = len(clip.frames_THWC) - 1
        # Counted from the end, so that one frame alone is the last one: the furthest from the source.
        rows = count - np.arange(min(self._frames, count)) * count // min(self._frames, count)
        driving_THWC = np.asarray(clip.frames_THWC[np.sort(rows)])
        source_HWC = np.asarray(clip.frames_THWC[0])
        return (Case("reconstruction", clip.name, source_HWC, None, driving_THWC, driving_THWC),)
