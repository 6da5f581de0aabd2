"""Loss terms: one function for each, named as its weight in the published configurations.

Shapes: B batch, K keypoints, 2 = (x, y), 22 = 2x2 matrix.
"""

import torch
from torch import Tensor

from model.networks.keypoints import Keypoints, invert, multiply
from model.training.equivariance import ThinPlateWarp, warp_jacobians, warp_points


def equivariance_value(detected: Keypoints, detected_in_warped: Keypoints, by: ThinPlateWarp) -> Tensor:
    """Mean distance (L1) between a keypoint and the place where the warp takes its twin of the warped frame."""
    expected_BK2 = warp_points(detected_in_warped.positions_BK2, by)
    return (detected.positions_BK2 - expected_BK2).abs().mean()


def equivariance_jacobian(detected: Keypoints, detected_in_warped: Keypoints, by: ThinPlateWarp) -> Tensor:
    """Mean distance (L1) from the identity of J⁻¹ (dW · J_warped): the first-order half of equivariance.

    Keypoints whose J cannot be inverted count as if J were the identity, which pulls them back to where it can be.
    Raises `ValueError` for a zeroth-order model, which has no Jacobians.
    """
    if detected.jacobians_BK22 is None or detected_in_warped.jacobians_BK22 is None:
        raise ValueError("a zeroth-order model has no Jacobians")
    slopes_BK22 = warp_jacobians(detected_in_warped.positions_BK2, by)
    expected_BK22 = multiply(slopes_BK22, detected_in_warped.jacobians_BK22)
    inverses_BK22, _ = invert(detected.jacobians_BK22)
    identity_22 = torch.eye(2, device=expected_BK22.device)
    return (identity_22 - multiply(inverses_BK22, expected_BK22)).abs().mean()
