"""Keypoints with their local affine frames, and the little algebra they need.

Shapes: B batch, K keypoints, 2 = (x, y), 22 = 2x2 matrix, row then column.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# A 2x2 matrix counts as singular when |det| is below this share of the largest determinant that a matrix of the
# same size can have. The share is about 2 / condition number; below it float32 leaves nothing of the inverse.
SINGULAR_SHARE = 1e-6


class Keypoints(NamedTuple):
    """K keypoints of B frames.

    Positions are in [-1, 1]; the Jacobian at a keypoint is the local affine frame there, dT/dp of Eq. (4) of the
    paper. A zeroth-order model has none.
    """

    positions_BK2: Tensor
    jacobians_BK22: Tensor | None


def frames_of(keypoints: Keypoints, frames: slice | Tensor) -> Keypoints:
    """Return the keypoints of some frames as tensors of their own, so that the rest can be freed."""
    jacobians_BK22 = keypoints.jacobians_BK22
    return Keypoints(
        keypoints.positions_BK2[frames].clone(), None if jacobians_BK22 is None else jacobians_BK22[frames].clone()
    )


def on_device(keypoints: Keypoints, device: torch.device) -> Keypoints:
    """Return the keypoints on a device. Those that go to a GPU do not wait for what it is doing."""
    jacobians_BK22 = keypoints.jacobians_BK22
    return Keypoints(
        _moved(keypoints.positions_BK2, device), None if jacobians_BK22 is None else _moved(jacobians_BK22, device)
    )


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def invert(matrices_BK22: Tensor) -> tuple[Tensor, Tensor]:
    """Return (inverses_BK22, singular_BK).

    Where a matrix is singular, or not finite, its place in `inverses_BK22` holds the identity and `singular_BK` is
    True: what that should mean is for the caller to say. Nothing raises and nothing waits for the device.
    """
    a_BK, b_BK = matrices_BK22[..., 0, 0], matrices_BK22[..., 0, 1]
    c_BK, d_BK = matrices_BK22[..., 1, 0], matrices_BK22[..., 1, 1]
    determinant_BK = a_BK * d_BK - b_BK * c_BK
    largest_BK = matrices_BK22.square().sum((-2, -1)) / 2
    # Written so that NaN, which compares false, lands on the singular side.
    regular_BK = (determinant_BK.abs() > SINGULAR_SHARE * largest_BK) & torch.isfinite(largest_BK)
    adjugates_BK22 = torch.stack((d_BK, -b_BK, -c_BK, a_BK), dim=-1).unflatten(-1, (2, 2))
    # Dividing by a safe number first keeps NaN out of the gradient of the branch that is not taken.
    safe_BK = torch.where(regular_BK, determinant_BK, torch.ones_like(determinant_BK))
    identity_22 = torch.eye(2, dtype=matrices_BK22.dtype, device=matrices_BK22.device)
    inverses_BK22 = torch.where(regular_BK[..., None, None], adjugates_BK22 / safe_BK[..., None, None], identity_22)
    return inverses_BK22, ~regular_BK


def multiply(left_BK22: Tensor, right_BK22: Tensor) -> Tensor:
    """Return the 2x2 products, written out so that no reduced-precision matrix unit is used for coordinates."""
    return (left_BK22[..., :, :, None] * right_BK22[..., None, :, :]).sum(-2)


def relative_jacobians(to_BK22: Tensor, from_BK22: Tensor) -> Tensor:
    """Return `to` · `from`⁻¹, the local affine map that carries one frame's neighbourhood to the other's.

    Where `from` cannot be inverted the answer is the identity: that keypoint then moves by translation alone, as in a
    zeroth-order model. The published function raises there, or returns infinities.
    """
    inverses_BK22, singular_BK = invert(from_BK22)
    products_BK22 = multiply(to_BK22, inverses_BK22)
    usable_BK = ~singular_BK & torch.isfinite(products_BK22).all(-1).all(-1)
    identity_22 = torch.eye(2, dtype=to_BK22.dtype, device=to_BK22.device)
    return torch.where(usable_BK[..., None, None], products_BK22, identity_22)
