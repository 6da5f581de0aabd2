"""Landmarks and embeddings of what a frame shows, and how two frames differ in them.

A detector is anything with the two members of `Detector`: faces are in `faces.py`; bodies, hands or animals can be
plugged into `evaluate(..., detector=...)` the same way.

Shapes: H W height and width, C channels, P landmarks, E numbers of an embedding, 2 = (x, y).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Found(NamedTuple):
    """What a detector found in a frame."""

    landmarks_P2: NDArray[np.float64]
    """In pixels of the frame that was given; pixel centres are whole numbers. P is the same for all frames."""
    embedding_E: NDArray[np.float64] | None
    """Who it is; None from a detector that cannot tell."""


class Detector(Protocol):
    """Finds the subject of a frame."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Return the detector's name under `name`, and the versions of what it is made of: they go into the report."""
        ...

    def find(self, frame_HWC: NDArray[np.uint8]) -> Found | None:
        """Return what an RGB frame shows, or None where nothing is found."""
        ...


class Compared(NamedTuple):
    """One generated frame beside the true one."""

    in_truth: bool
    in_generated: bool
    landmark_distance_px: float | None
    embedding_distance: float | None


class Landmarks(NamedTuple):
    """The three numbers of many frames; None where no frame could be measured."""

    akd_px: float | None
    """Average keypoint distance."""
    mkr: float | None
    """Missing keypoint rate."""
    aed: float | None
    """Average Euclidean distance of embeddings."""


def compare(truth: Found | None, generated: Found | None) -> Compared:
    """Compare what was found in a frame and in the truth. Distances need both."""
    if truth is None or generated is None:
        return Compared(truth is not None, generated is not None, None, None)
    return Compared(True, True, landmark_distance(truth, generated), embedding_distance(truth, generated))


def landmark_distance(first: Found, second: Found) -> float:
    """Return the mean Euclidean distance between landmarks of the same name, in pixels of the frame."""
    return float(np.linalg.norm(first.landmarks_P2 - second.landmarks_P2, axis=1).mean())


def embedding_distance(first: Found, second: Found) -> float | None:
    """Return the Euclidean distance of the embeddings, or None where there are none."""
    if first.embedding_E is None or second.embedding_E is None:
        return None
    return float(np.linalg.norm(first.embedding_E - second.embedding_E))


def average(compared: Iterable[Compared]) -> Landmarks:
    """Return AKD and AED over the frames where both are found, and MKR.

    MKR is the share of the frames in whose truth something is found, but not in the generated frame.
    """
    rows = [row for row in compared if row.in_truth]
    missing = [float(not row.in_generated) for row in rows]
    akd = [row.landmark_distance_px for row in rows if row.landmark_distance_px is not None]
    aed = [row.embedding_distance for row in rows if row.embedding_distance is not None]
    return Landmarks(_mean(akd), _mean(missing), _mean(aed))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
