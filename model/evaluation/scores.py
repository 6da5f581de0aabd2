"""From frames to the rows of the table.

Shapes: T frames of a case.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.evaluation.cases import Case, Part
from model.evaluation.detectors import Compared, Detector, Found, Landmarks, average, compare
from model.evaluation.methods import BATCH_FRAMES, COPY, Method
from model.evaluation.metrics import frame_errors
from model.inference.pixels import to_tensor


class CaseScore(NamedTuple):
    """What one method did with one case, frame by frame."""

    case_set_index: int
    """Of the clip or avatar."""
    name: str
    part: Part
    method: str
    l1_T: tuple[float, ...]
    psnr_T: tuple[float, ...]
    ssim_T: tuple[float, ...]
    compared_T: tuple[Compared, ...]
    """Empty without a detector."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One method in one part of the protocol: means over frames, and what they are of copying's."""

    case: str | None
    """The clip or avatar; None for all of them."""
    part: Part
    method: str
    cases: int
    frames: int
    l1: float
    l1_standard_error: float | None
    """Of the mean over cases; frames of one case are alike and count as one. None with one case, which tells nothing.
    """
    l1_to_copy: float | None
    psnr_db: float
    psnr_gain_db: float
    ssim: float
    dssim_to_copy: float | None
    """(1 - SSIM) / (1 - SSIM of copying)."""
    subjects: int | None
    """Frames in whose truth the detector finds something; None without a detector, as all that follows."""
    akd_px: float | None
    akd_to_copy: float | None
    mkr: float | None
    aed: float | None
    aed_to_copy: float | None


def score_case(index: int, case: Case, methods: Sequence[Method], detector: Detector | None) -> list[CaseScore]:
    """Run every method on a case."""
    truth_found = _find(detector, case.truth_THWC)
    scores = []
    for method in methods:
        frames_THWC = method.animate(case)
        l1_T, psnr_T, ssim_T = _errors(frames_THWC, case.truth_THWC)
        if method.name == COPY:  # one frame many times is looked at once
            found = _find(detector, frames_THWC[:1]) * len(frames_THWC)
        else:
            found = _find(detector, frames_THWC)
        compared = tuple(compare(a, b) for a, b in zip(truth_found, found, strict=True))
        scores.append(CaseScore(index, case.name, case.part, method.name, l1_T, psnr_T, ssim_T, compared))
    return scores


def _errors(frames_THWC: NDArray[np.uint8], truth_THWC: NDArray[np.uint8]) -> list[tuple[float, ...]]:
    """Return L1, PSNR and SSIM of each frame. A few at a time: SSIM takes a dozen float64 maps of each."""
    cpu = torch.device("cpu")
    parts = [
        frame_errors(to_tensor(frames_THWC[rows], cpu), to_tensor(truth_THWC[rows], cpu))
        for rows in (slice(start, start + BATCH_FRAMES) for start in range(0, len(truth_THWC), BATCH_FRAMES))
    ]
    # Numbers, not tensors: small ones that live long, in between large ones that come and go, would pin the heap.
    return [tuple(torch.cat(values).tolist()) for values in zip(*parts, strict=True)]


def table(scores: Sequence[CaseScore]) -> list[Row]:
    """Return a row for each part and method, in the order in which they came."""
    groups: dict[tuple[Part, str], list[CaseScore]] = {}
    for score in scores:
        groups.setdefault((score.part, score.method), []).append(score)
    return [_row(None, part, method, group, groups[part, COPY]) for (part, method), group in groups.items()]


def case_table(scores: Sequence[CaseScore]) -> list[Row]:
    """Return a row for each case and method, in the order in which they came."""
    copies = {(score.part, score.case_set_index): score for score in scores if score.method == COPY}
    return [
        _row(score.name, score.part, score.method, [score], [copies[score.part, score.case_set_index]])
        for score in scores
    ]


def _row(case: str | None, part: Part, method: str, group: list[CaseScore], copies: list[CaseScore]) -> Row:
    own, copied = _means(group), _means(copies)
    subjects, copied_subjects = _subjects(group), _subjects(copies)
    compared = [one for score in group for one in score.compared_T]
    return Row(
        case=case,
        part=part,
        method=method,
        cases=len(group),
        frames=sum(len(score.l1_T) for score in group),
        l1=own[0],
        l1_standard_error=_standard_error([float(np.mean(score.l1_T)) for score in group]),
        l1_to_copy=_ratio(own[0], copied[0]),
        psnr_db=own[1],
        psnr_gain_db=own[1] - copied[1],
        ssim=own[2],
        dssim_to_copy=_ratio(1 - own[2], 1 - copied[2]),
        subjects=sum(one.in_truth for one in compared) if compared else None,
        akd_px=subjects.akd_px,
        akd_to_copy=_ratio(subjects.akd_px, copied_subjects.akd_px),
        mkr=subjects.mkr,
        aed=subjects.aed,
        aed_to_copy=_ratio(subjects.aed, copied_subjects.aed),
    )


def _find(detector: Detector | None, frames_THWC: NDArray[np.uint8]) -> list[Found | None]:
    return [detector.find(frame_HWC) for frame_HWC in frames_THWC] if detector else []


def _means(group: Iterable[CaseScore]) -> tuple[float, ...]:
    fields = zip(*((score.l1_T, score.psnr_T, score.ssim_T) for score in group), strict=True)
    return tuple(float(np.concatenate(values).mean()) for values in fields)


def _subjects(group: Iterable[CaseScore]) -> Landmarks:
    return average(one for score in group for one in score.compared_T)


def _standard_error(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def _ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None
