"""The occlusion-aware generator: encode the source once, then decode it along each motion.

Shapes: B batch, S sources (B, or 1 for one source and many driving frames), C channels, H W height and width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.networks.blocks import DownBlock, ResBlock, SameBlock, UpBlock, as_convolved
from model.networks.dense_motion import DenseMotion, DenseMotionNetwork
from model.networks.grid import resize_flow, resize_map, warp

_EDGE_KERNEL_SIZE = 7
# Colours nearer to black or white than this count as this: their logits would be out of the reach of any correction.
DARKEST = 0.02


class SourceLevels(NamedTuple):
    """What the generator keeps of the source."""

    features_SCHW: Tensor
    """The innermost features, which are moved before the bottleneck."""
    finer_SCHW: tuple[Tensor, ...]
    """With skips: the logits of the source's colours, then the features before each down block, from fine to coarse.
    Else empty."""


class Generator(nn.Module):
    """Section 3.2 of the paper. The dense motion network is a part of it, as in published checkpoints."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        own = config.generator
        widths = [min(own.max_features, own.block_expansion * 2**level) for level in range(own.num_down_blocks + 1)]
        self.align_corners = config.align_corners
        self.skips = own.skips
        # At full size a shift of a fraction of a flow's pixel shows: there the flow is resized as it is sampled.
        self.resize_aligned = own.skips and config.align_corners
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
        if own.skips:
            # An untrained generator draws the moved source, uncorrected.
            nn.init.zeros_(self.final.weight)
            assert self.final.bias is not None
            nn.init.zeros_(self.final.bias)

    def encode(self, source_SCHW: Tensor) -> SourceLevels:
        """Encode frames in [0, 1]: all that depends on the source alone. Needed once for each."""
        features_SCHW = self.first(as_convolved(source_SCHW, self.first))
        finer = [torch.logit(source_SCHW.float(), eps=DARKEST)]
        for block in self.down_blocks:
            finer.append(features_SCHW)
            features_SCHW = block(features_SCHW)
        return SourceLevels(features_SCHW, tuple(finer) if self.skips else ())

    def decode(self, source: SourceLevels, motion: DenseMotion) -> Tensor:
        """Draw frames_BCHW, float32 in [0, 1]: the features moved along the flow, dimmed where occluded (Eq. 8).

        With skips, each finer level of the source is added on the way up, moved and dimmed the same way; at last the
        source's own colours. What the network draws is then a correction of the moved source, everywhere.
        """
        x_BCHW = self.bottleneck(self._show(source.features_SCHW, motion))
        for index, block in enumerate(self.up_blocks):
            x_BCHW = block(x_BCHW)
            if source.finer_SCHW:
                x_BCHW = x_BCHW + self._show(source.finer_SCHW[-1 - index], motion)
        logits_BCHW = self.final(x_BCHW).float()
        if source.finer_SCHW:
            logits_BCHW = logits_BCHW + self._show(source.finer_SCHW[0], motion)
        return torch.sigmoid(logits_BCHW)

    def move(self, image_SCHW: Tensor, flow_BHW2: Tensor) -> Tensor:
        """Return image_BCHW read along the flow, which is resized to it.

        With features this is the first step of `decode`; with the source itself it is the picture of the motion
        that visualisers show and that serving never needs.
        """
        flow_BHW2 = resize_flow(flow_BHW2, *image_SCHW.shape[2:], align_corners=self.resize_aligned)
        return warp(image_SCHW, flow_BHW2, align_corners=self.align_corners, padding_mode="zeros")

    def _show(self, features_SCHW: Tensor, motion: DenseMotion) -> Tensor:
        """Return features_BCHW moved along the flow, and dimmed where they are occluded."""
        moved_BCHW = self.move(features_SCHW, motion.flow_BHW2)
        if motion.occlusion_B1HW is None:
            return moved_BCHW
        height, width = moved_BCHW.shape[2:]
        visible_B1HW = resize_map(motion.occlusion_B1HW, height, width, align_corners=self.resize_aligned)
        return moved_BCHW * visible_B1HW.to(moved_BCHW.dtype)
