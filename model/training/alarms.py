"""Alarms that end a run which cannot recover, with the reason. They look at averages over a window of steps."""

from collections import deque
from collections.abc import Mapping
from math import isfinite
from statistics import median
from typing import Any

from model.training.errors import TrainingStopped

# Of the running median, how far above counts as lost, and for how many windows in a row.
_DIVERGENCE_RATIO = 3.0
_PATIENCE = 20
_MEMORY = 200
_MIN_HISTORY = 20
# Standard deviation of a frame's keypoints, in units of the [-1, 1] frame: below this they are all in one place.
_SMALLEST_SPREAD = 0.01
# Fresh heatmaps are flat, so all keypoints begin in the middle.
_SPREAD_GRACE_STEPS = 1000


class Alarms:
    """Remembers the total loss, window by window. `state` and `restore` make it survive a resume."""

    def __init__(self) -> None:
        self._totals: deque[float] = deque(maxlen=_MEMORY)
        self._num_high = 0
        self._num_collapsed = 0

    def check(self, step: int, losses: Mapping[str, float], spread: float) -> None:
        """Look at one window. `spread` is the standard deviation of the keypoints of a frame.

        Raises `TrainingStopped` with code `loss_not_finite`, `keypoints_collapsed` or `loss_diverged`.
        """
        bad = [name for name, value in losses.items() if not isfinite(value)]
        if bad or not isfinite(spread):
            raise TrainingStopped(
                "loss_not_finite",
                f"At step {step} the loss is not a number: {', '.join(bad) or 'keypoints'}.",
                "Start from the last checkpoint (init_from) with a lower learning rate, fp32, or max_gradient_norm.",
            )
        self._num_collapsed = self._num_collapsed + 1 if spread < _SMALLEST_SPREAD else 0
        if step > _SPREAD_GRACE_STEPS and self._num_collapsed >= _PATIENCE:
            raise TrainingStopped(
                "keypoints_collapsed",
                f"At step {step} all keypoints of a frame have been in one place for a while (spread {spread:.4f}).",
                "Start again with a lower learning rate of the keypoint detector, or another seed.",
            )
        total = losses["total"]
        usual = median(self._totals) if len(self._totals) >= _MIN_HISTORY else float("inf")
        self._num_high = self._num_high + 1 if total > _DIVERGENCE_RATIO * usual else 0
        if self._num_high >= _PATIENCE:
            raise TrainingStopped(
                "loss_diverged",
                f"At step {step} the loss is {total:.1f}; it used to be {usual:.1f}, and does not come back.",
                "Start from the last checkpoint (init_from) with a lower learning rate.",
            )
        if self._num_high == 0:  # what is far too high must not become the new normal
            self._totals.append(total)

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"totals": list(self._totals), "num_high": self._num_high, "num_collapsed": self._num_collapsed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self._totals = deque(state["totals"], maxlen=_MEMORY)
        self._num_high, self._num_collapsed = state["num_high"], state["num_collapsed"]
