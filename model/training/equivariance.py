"""Random thin-plate warps of a frame, under which keypoints must move along (section 3.3 of the paper, equivariance).

Convention: as in `model.networks.grid`. The warp is backward: the warped frame at z shows the frame at `warp(z)`, so
a keypoint found at p in the warped frame belongs at `warp(p)` in the frame.

Shapes: B batch, C channels, H W height and width, N points, K keypoints, P control points, 2 = (x, y), 23 = 2x3 affine.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.networks.grid import coordinate_grid, warp

# Keeps the logarithm finite at a control point.
_LOG_OFFSET = 1e-6


class ThinPlateWarp(NamedTuple):
    """An affine map plus radial bumps at P control points: one warp for each frame of the batch.

    `bumps_BP` moves x and y alike, as in the published implementation.
    """

    affine_B23: Tensor
    controls_P2: Tensor
    bumps_BP: Tensor


def random_warp(
    batch_size: int,
    *,
    sigma_affine: float,
    sigma_bumps: float,
    points_per_side: int,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> ThinPlateWarp:
    """Draw a warp near the identity. Both sigmas are standard deviations in units of the [-1, 1] frame."""
    controls_P2 = coordinate_grid(points_per_side, points_per_side, device).flatten(0, 1)
    noise_B23 = torch.randn(batch_size, 2, 3, device=device, generator=generator)
    bumps_BP = torch.randn(batch_size, len(controls_P2), device=device, generator=generator)
    return ThinPlateWarp(torch.eye(2, 3, device=device) + sigma_affine * noise_B23, controls_P2, sigma_bumps * bumps_BP)


def warp_points(points_BN2: Tensor, by: ThinPlateWarp) -> Tensor:
    """Return warped_BN2. Points of batch 1 are warped by every warp.

    The radius is |dx| + |dy|, not the Euclidean distance of the usual thin plate: the published models were trained
    with it, and it only shapes the noise.
    """
    linear_B22, shift_B2 = by.affine_B23[:, :, :2], by.affine_B23[:, :, 2]
    straight_BN2 = (linear_B22[:, None] * points_BN2[:, :, None, :]).sum(-1) + shift_B2[:, None]
    radius_BNP = (points_BN2[:, :, None] - by.controls_P2).abs().sum(-1)
    heights_BNP = radius_BNP.square() * torch.log(radius_BNP + _LOG_OFFSET)
    return straight_BN2 + (heights_BNP * by.bumps_BP[:, None]).sum(-1, keepdim=True)


def warp_jacobians(points_BN2: Tensor, by: ThinPlateWarp) -> Tensor:
    """Return jacobians_BN22, the derivative of `warp_points` at each point: row = output, column = input coordinate.

    In closed form, so it needs no graph of its own and gradients pass through it. (The published implementation
    differentiates automatically; the values agree.)
    """
    offsets_BNP2 = points_BN2[:, :, None] - by.controls_P2
    radius_BNP = offsets_BNP2.abs().sum(-1)
    shifted_BNP = radius_BNP + _LOG_OFFSET
    slopes_BNP = 2 * radius_BNP * torch.log(shifted_BNP) + radius_BNP.square() / shifted_BNP
    gradients_BN2 = ((slopes_BNP * by.bumps_BP[:, None])[..., None] * offsets_BNP2.sign()).sum(2)
    # The bump moves x and y alike, so both rows receive the same gradient.
    return by.affine_B23[:, None, :, :2] + gradients_BN2[:, :, None, :]


def warp_frames(frames_BCHW: Tensor, by: ThinPlateWarp, *, align_corners: bool) -> Tensor:
    """Return the warped frames; what comes from outside is mirrored in, so that no black edge gives the warp away."""
    height, width = frames_BCHW.shape[2:]
    grid_1N2 = coordinate_grid(height, width, frames_BCHW.device).flatten(0, 1)[None]
    flow_BHW2 = warp_points(grid_1N2, by).unflatten(1, (height, width))
    return warp(frames_BCHW, flow_BHW2, align_corners=align_corners, padding_mode="reflection")
