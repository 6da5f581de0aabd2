"""Dense motion: from sparse keypoint motions to one flow field and an occlusion map.

Shapes: B batch, S sources (B, or 1 for one source and many driving frames), C channels, H W height and width at which
motion is estimated, K keypoints, M = K + 1 motions (background first), 2 = (x, y), 22 = 2x2 matrix.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.networks.blocks import AntiAliasedDownsample, Hourglass
from model.networks.grid import coordinate_grid, coordinate_lines, gaussian_heatmaps, warp
from model.networks.keypoints import Keypoints, relative_jacobians

_HEAD_KERNEL_SIZE = 7


class DenseMotion(NamedTuple):
    """Where every pixel comes from, and what cannot be seen in the source.

    `flow_BHW2` is backward: coordinates in the source, in [-1, 1]. `occlusion_B1HW` is 1 where the warped source can
    be used and 0 where it must be painted anew. `masks_BMHW` sum to 1 over the motions. `warped_sources_BMCHW`, the
    source moved by each motion alone, is kept only when asked for: it is K + 1 images for every frame.
    """

    flow_BHW2: Tensor
    occlusion_B1HW: Tensor | None
    masks_BMHW: Tensor
    warped_sources_BMCHW: Tensor | None = None


class DenseMotionNetwork(nn.Module):
    """Section 3.1 of the paper: K + 1 candidate motions, blended by masks that an hourglass predicts."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        own = config.generator.dense_motion
        num_motions = config.num_keypoints + 1
        self.keypoint_variance = own.keypoint_variance
        self.align_corners = config.align_corners
        self.hourglass = Hourglass(
            num_motions * (config.num_channels + 1),
            block_expansion=own.block_expansion,
            num_blocks=own.num_blocks,
            max_features=own.max_features,
        )
        in_channels = self.hourglass.out_channels
        padding = _HEAD_KERNEL_SIZE // 2
        self.mask = nn.Conv2d(in_channels, num_motions, _HEAD_KERNEL_SIZE, padding=padding)
        self.occlusion: nn.Conv2d | None = None
        if config.generator.estimate_occlusion_map:
            self.occlusion = nn.Conv2d(in_channels, 1, _HEAD_KERNEL_SIZE, padding=padding)
        self.down = (
            AntiAliasedDownsample(config.num_channels, own.scale_factor) if own.scale_factor != 1 else nn.Identity()
        )

    def downsample(self, source_SCHW: Tensor) -> Tensor:
        """Return the source at the resolution where motion is estimated. Needed once for each source."""
        return self.down(source_SCHW)

    def forward(
        self,
        small_source_SCHW: Tensor,
        source: Keypoints,
        driving: Keypoints,
        *,
        keep_warped_sources: bool = False,
        dropped_BK: Tensor | None = None,
    ) -> DenseMotion:
        """Estimate the motion that takes the source to each of B driving poses.

        Args:
            small_source_SCHW: from `downsample`.
            source: keypoints of the source, batch S.
            driving: keypoints to move it to, batch B.
            keep_warped_sources: return `warped_sources_BMCHW` too, for a picture of what the network sees.
            dropped_BK: keypoints whose motions may not be used, bool; in training only.

        """
        height, width = small_source_SCHW.shape[2:]
        heatmaps_BMHW = heatmap_differences(source, driving, height, width, self.keypoint_variance)
        motions_BMHW2 = sparse_motions(source, driving, height, width)
        warped_BMCHW = warp_sources(small_source_SCHW, motions_BMHW2, align_corners=self.align_corners)
        features_BCHW = self.hourglass(torch.cat((heatmaps_BMHW[:, :, None], warped_BMCHW), dim=2).flatten(1, 2))
        logits_BMHW, occlusion_logits_B1HW = self._heads(features_BCHW)
        if dropped_BK is not None:
            background_B1 = torch.zeros_like(dropped_BK[:, :1])
            dropped_BM11 = torch.cat((background_B1, dropped_BK), dim=1)[:, :, None, None]
            logits_BMHW = logits_BMHW.masked_fill(dropped_BM11, float("-inf"))
        masks_BMHW = logits_BMHW.softmax(dim=1)
        occlusion_B1HW = None if occlusion_logits_B1HW is None else occlusion_logits_B1HW.sigmoid()
        return DenseMotion(
            blend_motions(masks_BMHW, motions_BMHW2),
            occlusion_B1HW,
            masks_BMHW,
            warped_BMCHW if keep_warped_sources else None,
        )

    def _heads(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits of masks and occlusion: two convolutions of one input, computed as one."""
        if self.occlusion is None:
            return self.mask(features_BCHW).float(), None
        assert self.mask.bias is not None
        assert self.occlusion.bias is not None
        weight = torch.cat((self.mask.weight, self.occlusion.weight))
        bias = torch.cat((self.mask.bias, self.occlusion.bias))
        logits_BCHW = F.conv2d(features_BCHW, weight, bias, padding=_HEAD_KERNEL_SIZE // 2).float()
        return logits_BCHW[:, :-1], logits_BCHW[:, -1:]


def heatmap_differences(source: Keypoints, driving: Keypoints, height: int, width: int, variance: float) -> Tensor:
    """Eq. (6): how much more each keypoint is here in the driving frame than in the source. Zero for background.

    Returns differences_BMHW.
    """
    driving_BKHW = gaussian_heatmaps(driving.positions_BK2, height, width, variance)
    source_SKHW = gaussian_heatmaps(source.positions_BK2, height, width, variance)
    differences_BKHW = driving_BKHW - source_SKHW
    return torch.cat((torch.zeros_like(differences_BKHW[:, :1]), differences_BKHW), dim=1)


def sparse_motions(source: Keypoints, driving: Keypoints, height: int, width: int) -> Tensor:
    """Eq. (4) near each keypoint k: T(z) = p_source + J_k (z - p_driving), J_k = J_source J_driving⁻¹ (Eq. 5).

    Motion 0, the background, stays where it is. Without Jacobians J_k is the identity, and where J_driving cannot be
    inverted too (see `relative_jacobians`). Returns motions_BMHW2.
    """
    device = driving.positions_BK2.device
    if source.jacobians_BK22 is not None and driving.jacobians_BK22 is not None:
        jacobians_BK22 = relative_jacobians(source.jacobians_BK22, driving.jacobians_BK22)
    else:
        jacobians_BK22 = torch.eye(2, device=device).expand(*driving.positions_BK2.shape, 2)
    # An affine map is a part along x, a part along y and a constant: each small, joined by one sum over all pixels.
    # Written out: a matrix product may be computed in reduced precision, which would move pixels.
    x_W, y_H = coordinate_lines(height, width, device)
    along_x_BKW2 = jacobians_BK22[:, :, None, :, 0] * x_W[:, None]
    along_y_BKH2 = jacobians_BK22[:, :, None, :, 1] * y_H[:, None]
    constant_BK2 = source.positions_BK2 - (jacobians_BK22 * driving.positions_BK2[:, :, None]).sum(-1)
    motions_BKHW2 = along_x_BKW2[:, :, None] + (along_y_BKH2 + constant_BK2[:, :, None])[:, :, :, None]
    background_HW2 = coordinate_grid(height, width, device)
    background_B1HW2 = background_HW2.expand(motions_BKHW2.shape[0], 1, -1, -1, -1)
    return torch.cat((background_B1HW2, motions_BKHW2), dim=1)


def warp_sources(small_source_SCHW: Tensor, motions_BMHW2: Tensor, *, align_corners: bool) -> Tensor:
    """Return warped_BMCHW: the source moved by each motion alone, black where it comes from outside the frame."""
    num_batch, num_motions = motions_BMHW2.shape[:2]
    if small_source_SCHW.shape[0] != 1:
        small_source_SCHW = small_source_SCHW.repeat_interleave(num_motions, dim=0)
    warped_NCHW = warp(
        small_source_SCHW, motions_BMHW2.flatten(0, 1), align_corners=align_corners, padding_mode="zeros"
    )
    return warped_NCHW.unflatten(0, (num_batch, num_motions))


def blend_motions(masks_BMHW: Tensor, motions_BMHW2: Tensor) -> Tensor:
    """Eq. (7): the flow is the mean of the motions, weighted by the masks. Returns flow_BHW2."""
    return (masks_BMHW[..., None] * motions_BMHW2).sum(dim=1)
