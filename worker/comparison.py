"""A picture for people who would rather look: source, driving frames and animated frames side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worker import media, pictures
from worker.jobs import VideoFacts
from worker.settings import UNLIMITED

_GAP_PX = 4
_WHITE = 255


def write_comparison(source: Path, driving: Path, result: Path, output: Path, *, columns: int = 6) -> None:
    """Write a PNG: the source at the left, then `columns` moments of the clip, driving above and result below.

    Raises MediaRejected when one of the files cannot be decoded.
    """
    result_facts = media.probe_video(result, UNLIMITED)
    driving_facts = media.probe_video(driving, UNLIMITED)
    size_px = min(result_facts.width, result_facts.height)
    moments = [round(index * (result_facts.frames - 1) / max(1, columns - 1)) for index in range(columns)]
    rows = [_pick(path, facts, moments, size_px) for path, facts in ((driving, driving_facts), (result, result_facts))]
    source_HWC = pictures.load_image(source, square_px=size_px)
    blank_HWC = np.full_like(source_HWC, _WHITE)
    sheet = np.concatenate([_beside([left, *row]) for left, row in zip((source_HWC, blank_HWC), rows, strict=True)])
    pictures.write_png(output, sheet)


def _pick(path: Path, facts: VideoFacts, moments: list[int], size_px: int) -> list[np.ndarray]:
    """The frames of a clip at `moments` (frame numbers), reading it once."""
    picked: dict[int, np.ndarray] = {}
    wanted = {min(moment, facts.frames - 1) for moment in moments}
    number = 0
    for frames_THWC in media.read_frames(path, facts, batch_frames=16, square_px=size_px, limits=UNLIMITED):
        for frame_HWC in frames_THWC:
            if number in wanted:
                picked[number] = frame_HWC.copy()
            number += 1
    return [picked[min(moment, facts.frames - 1)] for moment in moments]


def _beside(frames_HWC: list[np.ndarray]) -> np.ndarray:
    """Frames in a row, with a white gap after each and below."""
    padded = [np.pad(frame, ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=_WHITE) for frame in frames_HWC]
    return np.concatenate(padded, axis=1)
