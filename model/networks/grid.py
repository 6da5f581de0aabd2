"""Coordinate grids, Gaussians, and the one place where images are warped.

Convention
    order       a coordinate is (x, y): x along the width, y along the height
    range       [-1, 1]; with `align_corners=True` the ends are the CENTRES of the outermost pixels
    side        backward: flow_BHW2[b, i, j] is the place in the input from which output pixel (i, j) is read
    padding     outside the input: "zeros" for motion, "reflection" for the training warps
    precision   float32, whatever the type of the image: half precision would move pixels

Shapes
    B batch, M motions, C channels, H W height and width (h w: of the flow), N any leading axes, K keypoints, 2 = (x, y)
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def coordinate_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return grid_HW2, the coordinate of every pixel centre, float32: the identity flow under `align_corners=True`."""
    x_W, y_H = coordinate_lines(height, width, device)
    y_HW, x_HW = torch.meshgrid(y_H, x_W, indexing="ij")
    return torch.stack((x_HW, y_HW), dim=-1)


def coordinate_lines(height: int, width: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return x_W and y_H, the coordinates of the columns and of the rows."""
    x_W = torch.linspace(-1.0, 1.0, width, device=device) if width > 1 else torch.zeros(1, device=device)
    y_H = torch.linspace(-1.0, 1.0, height, device=device) if height > 1 else torch.zeros(1, device=device)
    return x_W, y_H


def gaussian_heatmaps(positions_BK2: Tensor, height: int, width: int, variance: float) -> Tensor:
    """Return heatmaps_BKHW: at each keypoint exp(-distance² / (2 variance)), so its peak is 1."""
    x_W, y_H = coordinate_lines(height, width, positions_BK2.device)
    # A Gaussian is the product of one along each axis.
    along_x_BKW = torch.exp(-0.5 * (x_W - positions_BK2[..., :1]).square() / variance)
    along_y_BKH = torch.exp(-0.5 * (y_H - positions_BK2[..., 1:]).square() / variance)
    return along_x_BKW[:, :, None, :] * along_y_BKH[..., None]


def warp(image_BCHW: Tensor, flow_Bhw2: Tensor, *, align_corners: bool, padding_mode: str) -> Tensor:
    """Read `image_BCHW` bilinearly at `flow_Bhw2` and return image_BChw, in the type of the image.

    An image of batch 1 is read by every flow without being copied. See Convention above.
    """
    if image_BCHW.shape[0] != flow_Bhw2.shape[0]:
        image_BCHW = image_BCHW.expand(flow_Bhw2.shape[0], -1, -1, -1)
    warped_BChw = F.grid_sample(
        image_BCHW.float(), flow_Bhw2.float(), mode="bilinear", padding_mode=padding_mode, align_corners=align_corners
    )
    return warped_BChw.to(image_BCHW.dtype)


def resize_flow(flow_BHW2: Tensor, height: int, width: int, *, align_corners: bool = False) -> Tensor:
    """Return the flow at another resolution; its values are relative to the frame, so they are not scaled.

    The published function interpolates on pixel areas (`align_corners=False`), whatever `align_corners` says of
    sampling. Then the identity does not stay the identity: near the edges it is off by up to half a pixel of the flow.
    """
    if flow_BHW2.shape[1:3] == (height, width):
        return flow_BHW2
    return resize_map(flow_BHW2.permute(0, 3, 1, 2), height, width, align_corners=align_corners).permute(0, 2, 3, 1)


def resize_map(map_BCHW: Tensor, height: int, width: int, *, align_corners: bool = False) -> Tensor:
    """Return a map (the occlusion) at another resolution, interpolated as the flow is."""
    if map_BCHW.shape[2:] == (height, width):
        return map_BCHW
    return F.interpolate(map_BCHW, size=(height, width), mode="bilinear", align_corners=align_corners)
