"""The One-Euro filter: less jitter, the same time."""

import numpy as np
import pytest
import torch

from model.inference.smoothing import one_euro, steady
from model.networks.keypoints import Keypoints

FPS = 25.0


def nod(frames: int = 150) -> np.ndarray:
    """A head that nods twice a second, less and less."""
    time = np.arange(frames) / FPS
    return 0.3 * np.sin(2 * np.pi * time) * np.exp(-time / 4)


def as_keypoints(values_T: np.ndarray) -> Keypoints:
    positions = torch.from_numpy(values_T).float()[:, None, None].expand(-1, 10, 2).contiguous()
    jacobians = torch.eye(2).expand(len(values_T), 10, 2, 2) * (1 + positions[..., None])
    return Keypoints(positions, jacobians)


def jitter(values: torch.Tensor) -> float:
    """Root mean square of the third differences: what shakes."""
    return float(values.diff(n=3, dim=0).square().mean().sqrt())


def lag_frames(signal_T: np.ndarray, truth_T: np.ndarray) -> int:
    shifts = range(-6, 7)
    inner = slice(10, -10)
    return min(shifts, key=lambda shift: float(np.square(np.roll(signal_T, -shift) - truth_T)[inner].mean()))


def test_zero_changes_nothing() -> None:
    keypoints = as_keypoints(nod())
    assert steady(keypoints, FPS, 0.0) is keypoints


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
def test_less_jitter_at_unchanged_lag(strength: float) -> None:
    truth = nod()
    noisy = as_keypoints(truth)
    noise = torch.randn(noisy.positions_BK2.shape, generator=torch.Generator().manual_seed(0)) * 0.01
    noisy = noisy._replace(positions_BK2=noisy.positions_BK2 + noise)
    steadied = steady(noisy, FPS, strength)
    assert jitter(steadied.positions_BK2) < 0.45 * jitter(noisy.positions_BK2)
    assert lag_frames(steadied.positions_BK2[:, 0, 0].numpy(), truth) == 0
    assert steadied.jacobians_BK22 is not None
    assert steadied.jacobians_BK22.shape == (150, 10, 2, 2)


def test_stronger_is_steadier() -> None:
    still = as_keypoints(np.random.default_rng(0).normal(0, 0.01, 100))
    levels = [jitter(steady(still, FPS, strength).positions_BK2) for strength in (0.0, 0.2, 0.5, 1.0)]
    assert levels == sorted(levels, reverse=True)


def test_fast_motion_is_left_alone() -> None:
    """The cutoff grows with the speed: a jump is there after few frames, however strong the filter."""
    step = np.zeros((40, 1, 1))
    step[20:] = 1
    assert one_euro(step, FPS, 1.0, 3.0)[24, 0, 0] > 0.85
    assert one_euro(0.01 * step, FPS, 1.0, 3.0)[24, 0, 0] < 0.0085
