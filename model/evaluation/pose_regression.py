"""Do keypoints follow the pose? Linear regression from keypoints to pose, fitted on some and scored on others.

Shapes: N frames, F features, P parameters of the pose, K keypoints, 2 = (x, y), 22 = 2x2.
"""

import torch
from torch import Tensor

from model.networks.keypoints import Keypoints

# On features of variance 1: enough that features which repeat each other do no harm, too little to see otherwise.
RIDGE = 1e-4
# With fewer frames than this for each feature a fit says more about chance than about the keypoints.
FRAMES_PER_FEATURE = 2


def position_features(keypoints: Keypoints) -> Tensor:
    """Return features_NF, F = 2K."""
    return keypoints.positions_BK2.flatten(1)


def jacobian_features(keypoints: Keypoints) -> Tensor | None:
    """Return features_NF of positions and Jacobians, F = 6K; None for a zeroth-order model."""
    if keypoints.jacobians_BK22 is None:
        return None
    return torch.cat((position_features(keypoints), keypoints.jacobians_BK22.flatten(1)), dim=1)


def score(fit_NF: Tensor, fit_NP: Tensor, test_NF: Tensor, test_NP: Tensor) -> list[float | None]:
    """Fit least squares with an intercept and return R² for each parameter of the pose, on frames not fitted.

    R² = 1 - sum (pose - predicted)² / sum (pose - mean pose)², the mean being that of the test frames. It is 1 for a
    perfect prediction, about 0 for one that knows nothing, and can be negative. None where the pose does not vary, or
    with fewer than `FRAMES_PER_FEATURE` frames for each feature.
    """
    if len(fit_NF) < FRAMES_PER_FEATURE * fit_NF.shape[1] or len(test_NF) < 2:
        return [None] * fit_NP.shape[1]
    predicted_NP = predict(fit_NF, fit_NP, test_NF)
    test_NP = test_NP.double()
    unexplained_P = (test_NP - predicted_NP).square().sum(0)
    total_P = (test_NP - test_NP.mean(0)).square().sum(0)
    pairs = zip(unexplained_P.tolist(), total_P.tolist(), strict=True)
    return [1.0 - unexplained / total if total > 1e-12 else None for unexplained, total in pairs]


def predict(fit_NF: Tensor, fit_NP: Tensor, test_NF: Tensor) -> Tensor:
    """Return predicted_NP of the test frames, float64, by ridge regression on features of mean 0 and variance 1."""
    fit_NF, fit_NP, test_NF = fit_NF.double(), fit_NP.double(), test_NF.double()
    mean_F, spread_F = fit_NF.mean(0), fit_NF.std(0).clamp(min=1e-9)
    inputs_NF = (fit_NF - mean_F) / spread_F
    mean_P = fit_NP.mean(0)
    gram_FF = inputs_NF.T @ inputs_NF
    gram_FF.diagonal().add_(RIDGE * len(inputs_NF))
    weights_FP = torch.linalg.solve(gram_FF, inputs_NF.T @ (fit_NP - mean_P))
    return (test_NF - mean_F) / spread_F @ weights_FP + mean_P
