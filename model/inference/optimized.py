"""The fast path of the networks, for serving only: the same function as `model.networks`, arranged for the machine.

Built from the plain networks, which are not changed and which the tests compare it with. What it does differently, with
its share of the time that it saves on vox-256 (docs/log.md has the measurements):

    of the source      encoded once, with its keypoints, heatmaps and small picture kept
    norms              folded into convolutions; one behind a ReLU becomes an affine map of each channel
    convolutions       weights packed once, ReLU fused                                       `convolutions.Convolution`
    up blocks          2x2 convolutions of the small image                          `convolutions.UpsampledConvolution`
    last convolution   2x2 pixels at a time                                              `convolutions.EdgeConvolution`
    bottleneck         Winograd's convolutions                                           `winograd.WinogradConvolution`
    warps              four rows of a table                                                           `sampling.sample`
    downsampling       two products with banded matrices, of kept pixels only          `downsampling.AntiAliasedLines`

Channels are last everywhere. Shapes: B batch, C channels, H W height and width, K keypoints, M = K + 1 motions, 1 the
one source.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.inference.convolutions import Convolution, EdgeConvolution, UpsampledConvolution
from model.inference.downsampling import AntiAliasedLines
from model.inference.residual import bottleneck
from model.inference.sampling import Taps, bilinear_taps, dimmed, sample
from model.inference.weights import Weights, fold_norm, plain_weights
from model.networks.assembly import Networks
from model.networks.blocks import DownBlock, Hourglass
from model.networks.dense_motion import DenseMotionNetwork, blend_motions, sparse_motions
from model.networks.generator import DARKEST, Generator
from model.networks.grid import coordinate_grid, gaussian_heatmaps, resize_flow, resize_map, warp
from model.networks.keypoint_detector import KeypointDetector, pool_jacobians, soft_argmax
from model.networks.keypoints import Keypoints


class FastSource(NamedTuple):
    """What is kept of a source: computed once for a job."""

    keypoints: Keypoints
    features_HWC: Tensor
    finer_HWC: tuple[Tensor, ...]
    """With skips: the features before each down block, from coarse to fine, and the logits of the colours. Else ()."""
    small_1CHW: Tensor
    background_1CHW: Tensor
    """The small source moved by the background's motion. That is the identity only when corners are aligned."""
    heatmaps_1KHW: Tensor


class FastMotion(NamedTuple):
    """The flow and what is visible, see `DenseMotion`."""

    flow_BHW2: Tensor
    occlusion_B1HW: Tensor | None


class FastNetworks:
    """Both networks of a model, on the device of the plain ones. `dtype` is that of the generator's convolutions."""

    def __init__(self, networks: Networks, config: ModelConfig, dtype: torch.dtype) -> None:
        self._detector = FastKeypointDetector(networks.keypoint_detector, config)
        self._dense_motion = FastDenseMotion(networks.generator.dense_motion_network, config, dtype)
        self._generator = FastGenerator(networks.generator, config, dtype)

    def detect(self, frames_BCHW: Tensor) -> Keypoints:
        """Return the keypoints of float_BCHW frames in [0, 1]."""
        return self._detector(frames_BCHW)

    def prepare(self, source_1CHW: Tensor) -> FastSource:
        """Compute all that depends on the source alone."""
        keypoints = self.detect(source_1CHW)
        features_HWC, finer_HWC = self._generator.encode(source_1CHW)
        small_1CHW = self._dense_motion.down(source_1CHW)
        background_1CHW = self._dense_motion.background(small_1CHW)
        heatmaps_1KHW = self._dense_motion.heatmaps(keypoints, *small_1CHW.shape[2:])
        return FastSource(keypoints, features_HWC, finer_HWC, small_1CHW, background_1CHW, heatmaps_1KHW)

    def draw(self, source: FastSource, target: Keypoints) -> Tensor:
        """Return frames_BCHW, float32 in [0, 1]: the source moved to each of the keypoints' poses."""
        return self.draw_with_occlusion(source, target)[0]

    def draw_with_occlusion(self, source: FastSource, target: Keypoints) -> tuple[Tensor, Tensor | None]:
        """Return frames_BCHW as `draw`, and occlusion_B1HW: 1 where the source is visible; None without such a map."""
        motion = self._dense_motion(source, target)
        return self._generator.decode(source, motion), motion.occlusion_B1HW

    def flow(self, source: FastSource, target: Keypoints) -> Tensor:
        """Return the backward flow_BHW2 of the same frames."""
        return self._dense_motion(source, target).flow_BHW2


class FastHourglass:
    """The U-Net. Each level's output is written beside the skip it is joined with, not copied there."""

    def __init__(self, plain: Hourglass, dtype: torch.dtype, size: int) -> None:
        self._dtype = dtype
        self._down = [FastDownBlock(block, dtype) for block in plain.encoder.down_blocks]  # type: ignore[arg-type]
        self._up = _up_blocks(plain.decoder.up_blocks, dtype, size)

    def __call__(self, x_BHWC: Tensor) -> Tensor:
        """Return features_BHWC at the resolution of the input, the input as their last channels."""
        levels = [x_BHWC.to(self._dtype)]
        for block in self._down:
            levels.append(block(levels[-1]))
        x_BHWC = levels.pop()
        for block in self._up:
            skip_BHWC = levels.pop()
            joined_BHWC = skip_BHWC.new_empty(*skip_BHWC.shape[:3], block.out_channels + skip_BHWC.shape[3])
            block.into(joined_BHWC[..., : block.out_channels], x_BHWC)
            joined_BHWC[..., block.out_channels :] = skip_BHWC
            x_BHWC = joined_BHWC
        return x_BHWC


class FastDownBlock:
    """Convolution with its norm and ReLU, then the mean of 2x2 pixels."""

    def __init__(self, plain: DownBlock, dtype: torch.dtype) -> None:
        self._convolution = Convolution(fold_norm(plain.conv, plain.norm), dtype, padding=1, relu=True)

    def __call__(self, x_BHWC: Tensor) -> Tensor:
        """Return float_BHWC with half of H and W."""
        return F.avg_pool2d(self._convolution(x_BHWC).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class FastKeypointDetector:
    """In float32 always; both heads are one convolution."""

    def __init__(self, plain: KeypointDetector, config: ModelConfig) -> None:
        self._num_keypoints, self._temperature = plain.num_keypoints, plain.temperature
        self._down = AntiAliasedLines(plain.down)
        self._hourglass = FastHourglass(
            plain.predictor, torch.float32, _size(config, config.keypoint_detector.scale_factor)
        )
        heads = [plain.kp] if plain.jacobian is None else [plain.kp, plain.jacobian]
        self._heads = Convolution(_side_by_side(heads), torch.float32, padding=int(plain.kp.padding[0]), relu=False)

    def __call__(self, frames_BCHW: Tensor) -> Keypoints:
        """Detect keypoints in float_BCHW frames in [0, 1]."""
        small_BHWC = self._down(frames_BCHW).permute(0, 2, 3, 1).contiguous()
        maps_BCHW = self._heads(self._hourglass(small_BHWC)).permute(0, 3, 1, 2).contiguous()
        logits_BKHW, jacobian_maps = maps_BCHW[:, : self._num_keypoints], maps_BCHW[:, self._num_keypoints :]
        heatmaps_BKHW = (logits_BKHW.flatten(2) / self._temperature).softmax(dim=2).view_as(logits_BKHW)
        positions_BK2 = soft_argmax(heatmaps_BKHW)
        if jacobian_maps.shape[1] == 0:
            return Keypoints(positions_BK2, None)
        return Keypoints(positions_BK2, pool_jacobians(heatmaps_BKHW, jacobian_maps.unflatten(1, (-1, 4))))


class FastDenseMotion:
    """Both heads as one convolution; the background, which does not move, is warped once for each source."""

    def __init__(self, plain: DenseMotionNetwork, config: ModelConfig, dtype: torch.dtype) -> None:
        self._variance, self._align_corners = plain.keypoint_variance, plain.align_corners
        self._estimates_occlusion = plain.occlusion is not None
        self.down = AntiAliasedLines(plain.down)
        self._hourglass = FastHourglass(
            plain.hourglass, dtype, _size(config, config.generator.dense_motion.scale_factor)
        )
        heads = [plain.mask] if plain.occlusion is None else [plain.mask, plain.occlusion]
        self._heads = Convolution(_side_by_side(heads), dtype, padding=int(plain.mask.padding[0]), relu=False)

    def background(self, small_1CHW: Tensor) -> Tensor:
        """Return the small source as the background's motion shows it."""
        height, width = small_1CHW.shape[2:]
        identity_1HW2 = coordinate_grid(height, width, small_1CHW.device)[None]
        return warp(small_1CHW, identity_1HW2, align_corners=self._align_corners, padding_mode="zeros")

    def heatmaps(self, keypoints: Keypoints, height: int, width: int) -> Tensor:
        """Return the keypoints' Gaussians."""
        return gaussian_heatmaps(keypoints.positions_BK2, height, width, self._variance)

    def __call__(self, source: FastSource, target: Keypoints) -> FastMotion:
        """Estimate the motion from the source to each pose."""
        height, width = source.small_1CHW.shape[2:]
        motions_BMHW2 = sparse_motions(source.keypoints, target, height, width)
        features_BHWC = self._hourglass(self._seen(source, target, motions_BMHW2))
        logits_BCHW = self._heads(features_BHWC).permute(0, 3, 1, 2).float()
        num_motions = motions_BMHW2.shape[1]
        masks_BMHW = logits_BCHW[:, :num_motions].softmax(dim=1)
        occlusion_B1HW = logits_BCHW[:, num_motions:].sigmoid() if self._estimates_occlusion else None
        return FastMotion(blend_motions(masks_BMHW, motions_BMHW2), occlusion_B1HW)

    def _seen(self, source: FastSource, target: Keypoints, motions_BMHW2: Tensor) -> Tensor:
        """Return the hourglass's input_BHWC: for each motion the difference of the heatmaps, then the moved source."""
        batch, num_motions, height, width, _ = motions_BMHW2.shape
        channels = source.small_1CHW.shape[1]
        moved = warp(
            source.small_1CHW,
            motions_BMHW2[:, 1:].flatten(0, 1),
            align_corners=self._align_corners,
            padding_mode="zeros",
        )
        differences_BKHW = self.heatmaps(target, height, width) - source.heatmaps_1KHW
        input_BHWMC = moved.new_empty(batch, height, width, num_motions, 1 + channels)
        input_BHWMC[..., 0, 0] = 0
        input_BHWMC[..., 0, 1:] = source.background_1CHW[0].permute(1, 2, 0)
        input_BHWMC[..., 1:, 0] = differences_BKHW.permute(0, 2, 3, 1)
        input_BHWMC[..., 1:, 1:] = moved.unflatten(0, (batch, -1)).permute(0, 3, 4, 1, 2)
        return input_BHWMC.flatten(3)


class FastGenerator:
    """Encode once; decode along each motion."""

    def __init__(self, plain: Generator, config: ModelConfig, dtype: torch.dtype) -> None:
        self._dtype, self._skips = dtype, plain.skips
        self._align_corners, self._resize_aligned = plain.align_corners, plain.resize_aligned
        first = plain.first
        self._first = Convolution(
            fold_norm(first.conv, first.norm), dtype, padding=int(first.conv.padding[0]), relu=True
        )
        self._down = [FastDownBlock(block, dtype) for block in plain.down_blocks]  # type: ignore[arg-type]
        self._bottleneck = bottleneck(plain.bottleneck, dtype, config.frame_size // 2 ** len(self._down))
        self._up = _up_blocks(plain.up_blocks, dtype, config.frame_size)
        self._final = EdgeConvolution(plain_weights(plain.final), dtype)

    def encode(self, source_1CHW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return features_HWC and, with skips, what is finer, from coarse to fine."""
        x_BHWC = self._first(source_1CHW.permute(0, 2, 3, 1).to(self._dtype).contiguous())
        finer = [torch.logit(source_1CHW, eps=DARKEST).permute(0, 2, 3, 1).contiguous()]
        for block in self._down:
            finer.append(x_BHWC)
            x_BHWC = block(x_BHWC)
        return x_BHWC[0].contiguous(), tuple(level[0] for level in reversed(finer)) if self._skips else ()

    def decode(self, source: FastSource, motion: FastMotion) -> Tensor:
        """Draw frames_BCHW, float32 in [0, 1]."""
        reader = _Reader(motion, self._align_corners, self._resize_aligned)
        x_BHWC = self._bottleneck(reader.show(source.features_HWC))
        if not self._skips and self._up and self._up[-1].in_phases:
            for block in self._up[:-1]:
                x_BHWC = block(x_BHWC)
            logits_BHWC = self._final.of_blocks(self._up[-1].phases(x_BHWC)).float()
        else:
            for index, block in enumerate(self._up):
                x_BHWC = block(x_BHWC)
                if self._skips:
                    x_BHWC.add_(reader.show(source.finer_HWC[index]))
            logits_BHWC = self._final.of_pixels(x_BHWC).float()
            if self._skips:
                logits_BHWC = logits_BHWC + reader.show(source.finer_HWC[-1])
        return logits_BHWC.sigmoid_().permute(0, 3, 1, 2)


class _Reader:
    """Shows images of the source as they are after the motion. Where to read is found once for each size."""

    def __init__(self, motion: FastMotion, align_corners: bool, resize_aligned: bool) -> None:
        self._motion, self._align_corners, self._resize_aligned = motion, align_corners, resize_aligned
        self._taps: dict[tuple[int, int], Taps] = {}

    def show(self, image_HWC: Tensor) -> Tensor:
        """Return float_BHWC moved along the flow, and dimmed where it is occluded."""
        height, width = image_HWC.shape[:2]
        if (height, width) not in self._taps:
            self._taps[height, width] = self._find(height, width)
        return sample(image_HWC, self._taps[height, width])

    def _find(self, height: int, width: int) -> Taps:
        flow_BHW2 = resize_flow(self._motion.flow_BHW2, height, width, align_corners=self._resize_aligned)
        taps = bilinear_taps(flow_BHW2, height, width, align_corners=self._align_corners)
        if self._motion.occlusion_B1HW is None:
            return taps
        visible_B1HW = resize_map(self._motion.occlusion_B1HW, height, width, align_corners=self._resize_aligned)
        return dimmed(taps, visible_B1HW)


def _side_by_side(heads: list[nn.Conv2d]) -> Weights:
    """Return convolutions of one input as one."""
    weights = [plain_weights(head) for head in heads]
    return Weights(torch.cat([own.weight_OCkk for own in weights]), torch.cat([own.bias_O for own in weights]))


def _up_blocks(plain: nn.ModuleList, dtype: torch.dtype, size: int) -> list[UpsampledConvolution]:
    """Return up blocks whose last one gives an image of `size`."""
    return [
        UpsampledConvolution(fold_norm(block.conv, block.norm), dtype, size // 2 ** (len(plain) - index))  # type: ignore[arg-type]
        for index, block in enumerate(plain)
    ]


def _size(config: ModelConfig, scale_factor: float) -> int:
    return round(config.frame_size * scale_factor)
