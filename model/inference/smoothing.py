"""Steady motion: a One-Euro filter on the keypoints of a clip (Casiez, Roussel and Vogel, CHI 2012).

A low-pass filter whose cutoff grows with speed: what hardly moves is held still, what moves fast is left alone. The
whole clip is known, so it runs forwards and then backwards over its own output: what one pass delays the other
brings forward, and the motion comes at the time at which it happened.

Shapes: T frames, G groups that share a cutoff (keypoints), D numbers of a group, K keypoints, 2 = (x, y).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from model.networks.keypoints import Keypoints

_WEAKEST_HZ, _STRONGEST_HZ = 8.0, 1.0
"""Cutoff at rest for `strength` near 0 and for 1; in between it goes down by equal factors."""
_WEAKEST_BETA, _STRONGEST_BETA = 12.0, 3.0
"""By how many Hz the cutoff rises for each unit of speed (half a frame's width a second, or a Jacobian's own size)."""
_SPEED_CUTOFF_HZ = 1.0
"""The speed itself is smoothed with this cutoff, as in the paper."""


def steady(keypoints: Keypoints, fps: float, strength: float) -> Keypoints:
    """Return the keypoints of a whole clip, batch T, steadied by `strength` in [0, 1]; 0 returns them as they are."""
    if strength <= 0 or len(keypoints.positions_BK2) < 2:
        return keypoints
    min_cutoff_hz = _WEAKEST_HZ * (_STRONGEST_HZ / _WEAKEST_HZ) ** strength
    # Both go down: noise has speed too, and would keep the cutoff up.
    beta = _WEAKEST_BETA * (_STRONGEST_BETA / _WEAKEST_BETA) ** strength

    def filtered(values: torch.Tensor) -> torch.Tensor:
        values_TGD = values.flatten(2).double().cpu().numpy()
        steadied_TGD = one_euro(one_euro(values_TGD, fps, min_cutoff_hz, beta)[::-1], fps, min_cutoff_hz, beta)[::-1]
        return torch.from_numpy(steadied_TGD.copy()).to(values).view_as(values)

    jacobians_BK22 = keypoints.jacobians_BK22
    return Keypoints(filtered(keypoints.positions_BK2), None if jacobians_BK22 is None else filtered(jacobians_BK22))


def one_euro(values_TGD: NDArray[np.float64], fps: float, min_cutoff_hz: float, beta: float) -> NDArray[np.float64]:
    """Filter a signal, one step after the other.

        x̂_t = x̂_{t-1} + α(f) (x_t - x̂_{t-1}),   f = f_min + β |v̂_t|,   α(f) = 1 / (1 + fps / 2πf)

    where v̂ is the speed of a group, low-passed at a fixed cutoff. The paper takes each number by itself; with one
    speed for all numbers of a group a keypoint keeps its direction.
    """
    filtered_TGD = values_TGD.copy()
    speed_GD = np.zeros_like(values_TGD[0])
    speed_share = _share(np.array(_SPEED_CUTOFF_HZ), fps)
    for time in range(1, len(values_TGD)):
        velocity_GD = (values_TGD[time] - filtered_TGD[time - 1]) * fps
        speed_GD = speed_GD + speed_share * (velocity_GD - speed_GD)
        cutoff_G1 = min_cutoff_hz + beta * np.linalg.norm(speed_GD, axis=-1, keepdims=True)
        step_GD = values_TGD[time] - filtered_TGD[time - 1]
        filtered_TGD[time] = filtered_TGD[time - 1] + _share(cutoff_G1, fps) * step_GD
    return filtered_TGD


def _share(cutoff_hz: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    return 1 / (1 + fps / (2 * math.pi * cutoff_hz))
