"""The errors against references, and what detectors' findings are averaged to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.evaluation.detectors import Found, average, compare
from model.evaluation.metrics import PSNR_LIMIT_DB, l1, psnr, ssim
from model.evaluation.pose_regression import score


def picture(height: int, width: int, phase: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    waves = [torch.sin(0.31 * x + 0.17 * y + phase + c) * torch.cos(0.07 * x * (c + 1) - 0.23 * y) for c in range(3)]
    return 0.5 + 0.5 * torch.stack(waves)[None]


# Computed with scikit-image 0.26.0: structural_similarity(gaussian_weights=True, sigma=1.5,
# use_sample_covariance=False, data_range=1, channel_axis=-1) and peak_signal_noise_ratio(data_range=1).
@pytest.mark.parametrize(
    ("height", "width", "phases", "expected"),
    [
        (16, 20, (0, 0.4), (0.884926842371057, 19.945826349402886, 0.08206408065594767)),
        (16, 20, (0, 2.0), (-0.2825485366751573, 7.409757666017978, 0.3466342965019566)),
        (16, 20, (1, 1.05), (0.9982147496462245, 37.95364098141477, 0.010295705946670949)),
        (64, 64, (0, 0.4), (0.8867092747886702, 20.040230142677814, 0.08073398531962005)),
        (64, 64, (0, 2.0), (-0.3106345137848936, 7.501309816077677, 0.34204283871174285)),
    ],
)
def test_as_scikit_image_measures(
    height: int, width: int, phases: tuple[float, float], expected: tuple[float, float, float]
) -> None:
    first, second = (picture(height, width, phase) for phase in phases)
    actual = ssim(first, second).item(), psnr(first, second).item(), l1(first, second).item()
    assert actual == pytest.approx(expected, abs=1e-6)


def test_each_frame_of_a_batch_for_itself() -> None:
    frames = torch.cat([picture(16, 16, phase) for phase in (0, 1, 2)])
    truth = torch.cat([picture(16, 16, phase) for phase in (0, 1.3, 2)])
    for metric in (l1, psnr, ssim):
        together = metric(frames, truth)
        alone = torch.cat([metric(frames[i : i + 1], truth[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(together, alone)
        assert together[1] != together[0]


def test_equal_frames_are_perfect_and_finite() -> None:
    frames = picture(16, 16, 0).float()
    assert (l1(frames, frames).item(), psnr(frames, frames).item()) == (0.0, PSNR_LIMIT_DB)
    assert ssim(frames, frames).item() == pytest.approx(1.0, abs=1e-6)
    assert ssim(torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)).item() == pytest.approx(0.0001 / 1.0001)


def found(shift: float, embedding: float | None = 0.0) -> Found:
    places = np.arange(8.0).reshape(4, 2) + shift
    return Found(places, None if embedding is None else np.full(4, embedding))


def test_averages_of_what_is_found() -> None:
    rows = [
        compare(found(0), found(3)),  # each landmark is off by 3 in x and in y
        compare(found(0), found(0, 0.5)),  # four numbers off by 0.5: a distance of 1
        compare(found(0), None),
        compare(None, found(0)),  # nothing to be missed
        compare(None, None),
    ]
    akd, mkr, aed = average(rows)
    assert akd == pytest.approx(3 * math.sqrt(2) / 2)
    assert mkr == pytest.approx(1 / 3)
    assert aed == pytest.approx(0.5)


def test_what_cannot_be_averaged_is_not_zero() -> None:
    assert average([]) == (None, None, None)
    assert average([compare(found(0), None)]) == (None, 1.0, None)
    assert average([compare(found(0, None), found(1, None))]).aed is None


def test_r2_of_what_is_linear_of_noise_and_of_what_does_not_vary() -> None:
    generator = torch.Generator().manual_seed(5)
    pose = torch.randn(2000, 3, generator=generator)
    pose[:, 2] = 0.7
    features = torch.cat((pose[:, :1] * 3 + 1, pose[:, :1] * 2 - pose[:, 1:2]), dim=1)
    linear = score(features[:1000], pose[:1000], features[1000:], pose[1000:])
    assert linear[:2] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert linear[2] is None
    noise = torch.randn(2000, 2, generator=generator)
    told = score(noise[:1000], pose[:1000], noise[1000:], pose[1000:])
    assert told[:2] == pytest.approx([0.0, 0.0], abs=0.02)


def test_r2_is_of_others_than_those_fitted() -> None:
    generator = torch.Generator().manual_seed(6)
    pose = torch.randn(100, 1, generator=generator)
    features = pose + 1e-3 * torch.randn(100, 1, generator=generator)
    features[50:] *= -1
    assert (score(features[:50], pose[:50], features[50:], pose[50:])[0] or 0) < -1, "the other half is the opposite"
    assert score(features[:1], pose[:1], features[50:], pose[50:]) == [None], "one frame cannot be fitted"
