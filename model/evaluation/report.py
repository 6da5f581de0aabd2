"""What an evaluation says: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.evaluation.metrics import PSNR_LIMIT_DB, SSIM_K1, SSIM_K2, SSIM_SIGMA, SSIM_WINDOW
from model.evaluation.pose_regression import FRAMES_PER_FEATURE, RIDGE
from model.evaluation.scores import Row
from model.evaluation.tracking import POSES_PER_IDENTITY, Tracking

SCHEMA_VERSION = 1

_METRICS = {
    "l1": "mean absolute difference of colours in [0, 1]; a mean over frames, as the others",
    "l1_standard_error": "of the mean over cases",
    "psnr_db": f"-10 log10(mean squared difference) of each frame, at most {PSNR_LIMIT_DB:g}",
    "ssim": f"Gaussian window {SSIM_WINDOW}, sigma {SSIM_SIGMA}, K1 {SSIM_K1}, K2 {SSIM_K2}, data range 1; windows "
    "within the frame; mean of the channels",
    "*_to_copy": "the mean, divided by that of copying the source; dssim is 1 - SSIM",
    "akd_px": "mean Euclidean distance of landmarks, in pixels of the frame, where both frames have them",
    "mkr": "share of the frames in whose truth the subject is found, in which it is not found",
    "aed": "mean Euclidean distance of embeddings, where both frames have one",
    "tracking": "R² of each pose parameter: linear regression with intercept, fitted on the first half of the "
    f"identities, scored on the second; {POSES_PER_IDENTITY} poses an identity, ridge {RIDGE:g} on features of "
    f"variance 1; null with fewer than {FRAMES_PER_FEATURE} frames for each feature; changes_from_positions: pose and "
    "positions less their means over the identity",
}

_SERIES = ("positions", "positions and Jacobians, if there are any", "changes within an identity")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that was measured, and how."""

    bundle: Mapping[str, Any]
    baselines: tuple[Mapping[str, Any], ...]
    protocol: Mapping[str, Any]
    detector: Mapping[str, str] | None
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    device: str
    precision: str
    seconds: float
    table: tuple[Row, ...]
    cases: tuple[Row, ...]
    """The same for each clip or avatar alone."""
    tracking: tuple[Tracking, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: `metrics.json`. Only `seconds` differs between two runs on one machine."""
        own = {
            key: value for key, value in asdict(self).items() if key not in ("seconds", "table", "cases", "tracking")
        }
        return {
            "format": "animato-evaluation",
            "schema_version": SCHEMA_VERSION,
            **own,
            "metrics": _METRICS,
            "seconds": round(self.seconds, 1),
            "table": [_rounded(asdict(row)) for row in self.table],
            "cases": [_rounded(asdict(row)) for row in self.cases],
            "tracking": [_rounded(asdict(tracking)) for tracking in self.tracking],
        }

    def text(self) -> str:
        """Return the tables as lines for a terminal."""
        blocks = [_row_lines([row for row in self.table if row.part == part]) for part in _parts(self.table)]
        if self.tracking:
            blocks.append(_tracking_lines(self.tracking))
        return "\n\n".join("\n".join(lines) for lines in (*blocks, self.notes) if lines)

    def dumps(self) -> str:
        """Return `metrics.json` as it is written."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _parts(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.part for row in rows))


def _row_lines(rows: Sequence[Row]) -> list[str]:
    width = max(len(row.method) for row in rows)
    with_subjects = rows[0].subjects is not None
    header = f"{'':{width}}      L1  /copy   PSNR   SSIM"
    header += "     AKD  /copy    MKR    AED  /copy" if with_subjects else ""
    lines = [f"{rows[0].part}: {rows[0].frames} frames of {rows[0].cases}", header]
    for row in rows:
        line = f"{row.method:{width}}  {row.l1:.4f}  {_cell(row.l1_to_copy, 5, 3)}  {row.psnr_db:5.2f}  {row.ssim:.3f}"
        if with_subjects:
            cells = ((row.akd_px, 6, 2), (row.akd_to_copy, 5, 3), (row.mkr, 5, 3), (row.aed, 5, 3))
            line += "".join(f"  {_cell(*cell)}" for cell in (*cells, (row.aed_to_copy, 5, 3)))
        lines.append(line)
    return lines


def _tracking_lines(tracking: Sequence[Tracking]) -> list[str]:
    columns = [(one.method, values) for one in tracking for values in _columns(one)]
    lines = [f"pose from keypoints, R² ({'; '.join(_SERIES)}): " + ", ".join(_names(tracking))]
    for name in tracking[0].from_positions:
        cells = "  ".join(_cell(values[name], 6, 2) for _, values in columns)
        lines.append(f"{name:14}  {cells}")
    return lines


def _columns(tracking: Tracking) -> list[dict[str, float | None]]:
    series = (tracking.from_positions, tracking.from_positions_and_jacobians, tracking.changes_from_positions)
    return [values for values in series if values is not None]


def _names(tracking: Sequence[Tracking]) -> list[str]:
    return [one.method for one in tracking]


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'–':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def _rounded(value: Any) -> Any:
    """Round to six digits: more would be noise, and would differ between machines."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
