"""The keypoint detector: a frame in, K keypoints and their Jacobians out, without supervision.

Shapes: B batch, C channels, H W height and width of the frame, h w of the heatmap, K keypoints, J Jacobian maps
(K or 1), 2 = (x, y), 4 = 2x2 matrix in row order.
"""

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.networks.blocks import AntiAliasedDownsample, Hourglass
from model.networks.grid import coordinate_lines
from model.networks.keypoints import Keypoints

_HEAD_KERNEL_SIZE = 7


class KeypointDetector(nn.Module):
    """Section 3.1 of the paper: heatmaps by an hourglass, positions by soft-argmax, Jacobians by weighted means."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        own = config.keypoint_detector
        self.num_keypoints = config.num_keypoints
        self.temperature = own.temperature
        self.predictor = Hourglass(
            config.num_channels,
            block_expansion=own.block_expansion,
            num_blocks=own.num_blocks,
            max_features=own.max_features,
        )
        in_channels = self.predictor.out_channels
        self.kp = nn.Conv2d(in_channels, config.num_keypoints, _HEAD_KERNEL_SIZE, padding=own.pad)
        self.jacobian: nn.Conv2d | None = None
        if config.estimate_jacobian:
            num_maps = 1 if own.single_jacobian_map else config.num_keypoints
            self.jacobian = nn.Conv2d(in_channels, 4 * num_maps, _HEAD_KERNEL_SIZE, padding=own.pad)
            # An untrained detector starts with identity Jacobians, that is with translations.
            nn.init.zeros_(self.jacobian.weight)
            assert self.jacobian.bias is not None
            with torch.no_grad():
                self.jacobian.bias.copy_(torch.eye(2).flatten().repeat(num_maps))
        self.down = (
            AntiAliasedDownsample(config.num_channels, own.scale_factor) if own.scale_factor != 1 else nn.Identity()
        )

    def forward(self, frames_BCHW: Tensor) -> Keypoints:
        """Detect keypoints in float_BCHW frames in [0, 1]; positions are (x, y) in [-1, 1].

        The ends of that range are the centres of the outermost HEATMAP pixels. With `pad=0` the heatmap lacks a
        3-pixel rim of the features; the published models were trained so, and the rim cannot be reached.
        """
        features_BChw = self.predictor(self.down(frames_BCHW))
        logits_BKhw = self.kp(features_BChw).float()
        # 1 / temperature is folded into the logits before the softmax, as in the paper's implementation.
        heatmaps_BKhw = (logits_BKhw.flatten(2) / self.temperature).softmax(dim=2).view_as(logits_BKhw)
        positions_BK2 = soft_argmax(heatmaps_BKhw)
        if self.jacobian is None:
            return Keypoints(positions_BK2, None)
        maps_BJ4hw = self.jacobian(features_BChw).float().unflatten(1, (-1, 4))
        return Keypoints(positions_BK2, pool_jacobians(heatmaps_BKhw, maps_BJ4hw))


def soft_argmax(heatmaps_BKhw: Tensor) -> Tensor:
    """Return positions_BK2, the mean coordinate under each heatmap (which sums to 1)."""
    x_w, y_h = coordinate_lines(heatmaps_BKhw.shape[2], heatmaps_BKhw.shape[3], heatmaps_BKhw.device)
    # Summed across first: a coordinate depends on its own axis alone.
    x_BK, y_BK = (heatmaps_BKhw.sum(2) * x_w).sum(-1), (heatmaps_BKhw.sum(3) * y_h).sum(-1)
    return torch.stack((x_BK, y_BK), dim=-1)


def pool_jacobians(heatmaps_BKhw: Tensor, maps_BJ4hw: Tensor) -> Tensor:
    """Return jacobians_BK22, the mean of each keypoint's four map values under its heatmap."""
    pooled_BK4 = (heatmaps_BKhw[:, :, None] * maps_BJ4hw).sum(dim=(3, 4))
    return pooled_BK4.unflatten(-1, (2, 2))
