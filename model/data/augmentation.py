"""Augmentation as published: flips, colour jitter, and for animated drawings a random size and crop.

Both frames of a pair always get the same. What is drawn (`draw`) is apart from how it is applied (`apply`): the few
numbers are drawn on the CPU from a generator, and equal draws change equal pictures equally on any device.

Differences from the published code, on purpose:

- There a pair that is flipped in time is never mirrored, because the function returns early. Here the two are
  independent, each with probability 0.5.
- There colours are rounded to 8 bits after each step, and the level around which contrast changes is each picture's
  own mean. Here colours stay floats, and the level is the mean of the pair, so that both frames go through one and the
  same function. (As in the published code, that mean is rounded to one of 256 levels, which also makes the result
  independent of the order in which threads add.)
- There a size is changed by nearest neighbours, here linearly.

Shapes: B batch, N frames, C channels, H W height and width. Frames are RGB floats in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.data.pairs import FramePairs

_LUMA = (0.299, 0.587, 0.114)
_STEPS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What may be done to a pair. Without arguments: nothing."""

    horizontal_flip: bool = False
    """Mirror both frames of every second pair."""
    time_flip: bool = False
    """Swap source and driving frame of every second pair."""
    brightness: float = 0.0
    """The factor is drawn from [1 - brightness, 1 + brightness], not below 0; so for contrast and saturation."""
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    """The shift is drawn from [-hue, hue]; 1 is once around the circle, so at most 0.5."""
    resize_ratio: tuple[float, float] | None = None
    """Scale both frames by a number from this range, then take a random crop of the former size."""

    def __post_init__(self) -> None:
        if min(self.brightness, self.contrast, self.saturation) < 0 or not 0 <= self.hue <= 0.5:
            raise ValueError("Jitter is not negative, and the hue's is at most 0.5.")
        if self.resize_ratio is not None and not 0 < self.resize_ratio[0] <= self.resize_ratio[1]:
            raise ValueError("The resize ratio is a range of positive numbers, the smaller one first.")


NO_AUGMENTATION = Augmentation()

_FLIPS = Augmentation(horizontal_flip=True, time_flip=True)
_ALL_JITTER = Augmentation(horizontal_flip=True, time_flip=True, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1)

PUBLISHED: Mapping[str, Augmentation] = MappingProxyType(
    {
        "vox-256": _ALL_JITTER,
        "vox-adv-256": _ALL_JITTER,
        "taichi-256": _ALL_JITTER,
        "taichi-adv-256": _ALL_JITTER,
        "bair-256": _ALL_JITTER,
        "nemo-256": _FLIPS,
        "fashion-256": Augmentation(horizontal_flip=True, time_flip=True, hue=0.1),
        "mgif-256": Augmentation(horizontal_flip=True, time_flip=True, hue=0.5, resize_ratio=(0.9, 1.1)),
    }
)
"""The augmentation of each published configuration."""


class Draw(NamedTuple):
    """What happens to each pair of a batch; on the CPU."""

    mirror_B: Tensor
    swap_B: Tensor
    jitter_B4: Tensor
    """Factors of brightness, contrast and saturation, then the shift of the hue."""
    order_B4: Tensor
    """In which order the four are applied, as indices into them."""
    scale_B: Tensor
    corner_B2: Tensor
    """Where in its room the crop is: (x, y) in [0, 1)."""


def draw(augmentation: Augmentation, batch_size: int, generator: torch.Generator) -> Draw:
    """Draw for a batch. The generator is advanced by the same amount whatever is switched on."""
    flips_B2 = torch.rand(batch_size, 2, generator=generator) < 0.5
    unit_B4 = torch.rand(batch_size, _STEPS, generator=generator)
    order_B4 = torch.rand(batch_size, _STEPS, generator=generator).argsort(dim=1)
    scale_B = torch.rand(batch_size, generator=generator)
    corner_B2 = torch.rand(batch_size, 2, generator=generator)

    ranges = [
        *((max(0.0, 1 - r), 1 + r) for r in (augmentation.brightness, augmentation.contrast, augmentation.saturation)),
        (-augmentation.hue, augmentation.hue),
    ]
    low_4, high_4 = torch.tensor(ranges).unbind(dim=1)
    smallest, largest = augmentation.resize_ratio or (1.0, 1.0)
    return Draw(
        mirror_B=flips_B2[:, 0] & augmentation.horizontal_flip,
        swap_B=flips_B2[:, 1] & augmentation.time_flip,
        jitter_B4=low_4 + (high_4 - low_4) * unit_B4,
        order_B4=order_B4,
        scale_B=smallest + (largest - smallest) * scale_B,
        corner_B2=corner_B2,
    )


def augment(pairs: FramePairs, augmentation: Augmentation, generator: torch.Generator) -> FramePairs:
    """Draw and apply."""
    return apply(pairs, draw(augmentation, len(pairs.source_BCHW), generator))


def apply(pairs: FramePairs, drawn: Draw) -> FramePairs:
    """Change the pairs as drawn, on the device where they are.

    Pair by pair: the steps come in another order for each, and two frames stay in a processor's cache where a batch
    would not.
    """
    frames = zip(pairs.source_BCHW, pairs.driving_BCHW, strict=True)
    changed = [_apply_to_pair(torch.stack(pair), drawn, row) for row, pair in enumerate(frames)]
    return FramePairs(*torch.stack(changed, dim=1).unbind(dim=0))


def _apply_to_pair(frames_NCHW: Tensor, drawn: Draw, row: int) -> Tensor:
    if drawn.swap_B[row]:
        frames_NCHW = frames_NCHW.flip(0)
    if drawn.mirror_B[row]:
        frames_NCHW = frames_NCHW.flip(3)
    scale = float(drawn.scale_B[row])
    if scale != 1:
        x, y = drawn.corner_B2[row].tolist()
        frames_NCHW = resize_and_crop(frames_NCHW, scale, x, y)
    amounts: list[float] = drawn.jitter_B4[row].tolist()
    for step in drawn.order_B4[row].tolist():
        neutral = 0.0 if step == 3 else 1.0
        if amounts[step] != neutral:
            frames_NCHW = _JITTER[step](frames_NCHW, amounts[step])
    return frames_NCHW


def adjust_brightness(frames_NCHW: Tensor, factor: float) -> Tensor:
    """Multiply; what becomes brighter than white is white."""
    return (frames_NCHW * factor).clamp_(0, 1)


def adjust_contrast(frames_NCHW: Tensor, factor: float) -> Tensor:
    """Stretch around the mean luma of all N frames, rounded to an 8-bit level."""
    level = _luma(frames_NCHW).mean(dtype=torch.float64).mul(255).round().div(255).to(frames_NCHW.dtype)
    return torch.lerp(level, frames_NCHW, factor).clamp_(0, 1)


def adjust_saturation(frames_NCHW: Tensor, factor: float) -> Tensor:
    """Stretch away from each pixel's own luma: 0 is grey."""
    luma_N1HW = _luma(frames_NCHW)
    return torch.lerp(luma_N1HW, frames_NCHW, factor).clamp_(0, 1)


def adjust_hue(frames_NCHW: Tensor, shift: float) -> Tensor:
    """Turn the hue of HSV by `shift` of the circle: 1/3 makes red green. Value and saturation stay."""
    red, green, blue = frames_NCHW.unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = chroma.clamp_min(1e-8)
    # In sixths of the circle: red 0, green 2, blue 4. Without chroma every branch is its constant, and unused.
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    turned_NCHW = torch.empty_like(frames_NCHW)
    for channel, offset in enumerate((5, 3, 1)):
        position = (sixths + (offset + 6 * shift)).remainder_(6)
        share = torch.minimum(position, 4 - position).clamp_(0, 1)
        torch.sub(value, share.mul_(chroma), out=turned_NCHW[:, channel])
    return turned_NCHW


def resize_and_crop(frames_NCHW: Tensor, scale: float, x: float, y: float) -> Tensor:
    """Scale, then cut a frame of the former size out.

    `x` and `y` in [0, 1) place it from left to right and from top to bottom. Where the scaled frame is smaller, its
    edge is repeated on all sides, and there is nothing to choose.
    """
    height, width = frames_NCHW.shape[-2:]
    size = (max(1, int(height * scale)), max(1, int(width * scale)))
    frames_NCHW = functional.interpolate(
        frames_NCHW, size=size, mode="bilinear", align_corners=False, antialias=scale < 1
    )
    pad_y, pad_x = max(0, height - size[0]), max(0, width - size[1])
    padding = [pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2]
    frames_NCHW = functional.pad(frames_NCHW, padding, mode="replicate")
    top = int(y * (frames_NCHW.shape[-2] - height + 1))
    left = int(x * (frames_NCHW.shape[-1] - width + 1))
    return frames_NCHW[..., top : top + height, left : left + width]


_JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _luma(frames_NCHW: Tensor) -> Tensor:
    red, green, blue = frames_NCHW.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])
