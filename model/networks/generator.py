"""The occlusion-aware generator: encode the source once, then decode it along each motion.

Shapes: B batch, S sources (B, or 1 for one source and many driving frames), C channels, H W height and width.
"""

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.networks.blocks import DownBlock, ResBlock, SameBlock, UpBlock, convolution_dtype
from model.networks.dense_motion import DenseMotion, DenseMotionNetwork
from model.networks.grid import resize_flow, resize_map, warp

_EDGE_KERNEL_SIZE = 7


class Generator(nn.Module):
    """Section 3.2 of the paper. The dense motion network is a part of it, as in published checkpoints."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        own = config.generator
        widths = [min(own.max_features, own.block_expansion * 2**level) for level in range(own.num_down_blocks + 1)]
        self.align_corners = config.align_corners
        self.dense_motion_network = DenseMotionNetwork(config)
        self.first = SameBlock(config.num_channels, own.block_expansion, _EDGE_KERNEL_SIZE)
        self.down_blocks = nn.ModuleList(
            DownBlock(before, after)
            for before, after in zip((own.block_expansion, *widths[1:-1]), widths[1:], strict=True)
        )
        self.bottleneck = nn.Sequential()
        for index in range(own.num_bottleneck_blocks):
            self.bottleneck.add_module(f"r{index}", ResBlock(widths[-1]))
        self.up_blocks = nn.ModuleList(
            UpBlock(before, after) for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.final = nn.Conv2d(widths[0], config.num_channels, _EDGE_KERNEL_SIZE, padding=_EDGE_KERNEL_SIZE // 2)

    def encode(self, source_SCHW: Tensor) -> Tensor:
        """Return features_SCHW of frames in [0, 1]: all that depends on the source alone. Needed once for each."""
        features_SCHW = self.first(source_SCHW.to(convolution_dtype(self.first)))
        for block in self.down_blocks:
            features_SCHW = block(features_SCHW)
        return features_SCHW

    def decode(self, features_SCHW: Tensor, motion: DenseMotion) -> Tensor:
        """Draw frames_BCHW, float32 in [0, 1]: the features moved along the flow, dimmed where occluded (Eq. 8)."""
        moved_BCHW = self.move(features_SCHW, motion.flow_BHW2)
        if motion.occlusion_B1HW is not None:
            occlusion_B1HW = resize_map(motion.occlusion_B1HW, *moved_BCHW.shape[2:])
            moved_BCHW = moved_BCHW * occlusion_B1HW.to(moved_BCHW.dtype)
        moved_BCHW = self.bottleneck(moved_BCHW)
        for block in self.up_blocks:
            moved_BCHW = block(moved_BCHW)
        return torch.sigmoid(self.final(moved_BCHW).float())

    def move(self, image_SCHW: Tensor, flow_BHW2: Tensor) -> Tensor:
        """Return image_BCHW read along the flow, which is resized to it.

        With features this is the first step of `decode`; with the source itself it is the picture of the motion
        that visualisers show and that serving never needs.
        """
        flow_BHW2 = resize_flow(flow_BHW2, *image_SCHW.shape[2:])
        return warp(image_SCHW, flow_BHW2, align_corners=self.align_corners, padding_mode="zeros")
