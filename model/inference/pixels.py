"""Between pictures and tensors: one function each way.

Shapes: T frames, B batch, C channels, H W height and width. Pictures are RGB uint8, tensors float in [0, 1].
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(frames_THWC: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return float_TCHW in [0, 1] on the device. The bytes travel; the floats are made where they are needed."""
    # A copy: frames out of a decoder's buffer are often read-only, which torch does not support.
    return to_unit(torch.from_numpy(np.array(frames_THWC, order="C")).to(device))


def to_unit(bytes_THWC: Tensor) -> Tensor:
    """Return float_TCHW in [0, 1] of uint8 frames, on their device."""
    return bytes_THWC.permute(0, 3, 1, 2).float().div(255)


def to_levels(frames_BCHW: Tensor) -> Tensor:
    """Return uint8_THWC on the same device, rounded to the nearest level; values outside [0, 1] are clipped."""
    levels_BCHW = frames_BCHW.float().clamp(0, 1).mul(255).round()
    return levels_BCHW.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def to_pixels(frames_BCHW: Tensor) -> NDArray[np.uint8]:
    """Return uint8_THWC in memory, as `to_levels`."""
    return to_levels(frames_BCHW).cpu().numpy()
