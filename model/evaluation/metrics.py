"""How far frames are from the truth, one number for each frame.

Shapes: B frames, C channels, H W height and width. Colours are in [0, 1].
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Of Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity, 2004.
SSIM_WINDOW, SSIM_SIGMA, SSIM_K1, SSIM_K2 = 11, 1.5, 0.01, 0.03
# Equal frames would have infinitely many decibels, and one such frame would make the mean useless.
PSNR_LIMIT_DB = 100.0


class FrameErrors(NamedTuple):
    """The three errors that need nothing but pixels."""

    l1_B: Tensor
    psnr_B: Tensor
    ssim_B: Tensor


def frame_errors(frames_BCHW: Tensor, truth_BCHW: Tensor) -> FrameErrors:
    """Return all three."""
    return FrameErrors(l1(frames_BCHW, truth_BCHW), psnr(frames_BCHW, truth_BCHW), ssim(frames_BCHW, truth_BCHW))


def l1(frames_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
    """Return l1_B, the mean absolute difference of colours."""
    return (frames_BCHW - truth_BCHW).abs().mean((1, 2, 3))


def psnr(frames_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
    """Return psnr_B in decibels, `-10 log10(mean squared difference)`, at most `PSNR_LIMIT_DB`."""
    squared_B = (frames_BCHW - truth_BCHW).square().mean((1, 2, 3))
    return -10.0 * squared_B.clamp(min=10.0 ** (-PSNR_LIMIT_DB / 10.0)).log10()


def ssim(frames_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
    """Return ssim_B, the mean structural similarity of each colour channel: 1 for equal frames.

    Windows lie within the frame: the rim of five pixels has none of its own. Frames are at least 11 pixels a side.
    """
    first_BCHW, second_BCHW = frames_BCHW.double(), truth_BCHW.double()
    mean_1, mean_2 = _blur(first_BCHW), _blur(second_BCHW)
    variance_1 = _blur(first_BCHW.square()) - mean_1.square()
    variance_2 = _blur(second_BCHW.square()) - mean_2.square()
    covariance = _blur(first_BCHW * second_BCHW) - mean_1 * mean_2
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1.square() + mean_2.square() + c1)
    structure = (2 * covariance + c2) / (variance_1 + variance_2 + c2)
    return (luminance * structure).mean((1, 2, 3)).float()


def _blur(image_BCHW: Tensor) -> Tensor:
    """Weight each window by a Gaussian: along the rows, then along the columns."""
    offsets_W = torch.arange(SSIM_WINDOW, dtype=image_BCHW.dtype, device=image_BCHW.device) - SSIM_WINDOW // 2
    weights_W = torch.exp(-offsets_W.square() / (2 * SSIM_SIGMA**2))
    weights_W = weights_W / weights_W.sum()
    flat_N1HW = image_BCHW.flatten(0, 1)[:, None]
    flat_N1HW = F.conv2d(flat_N1HW, weights_W[None, None, None, :])
    flat_N1HW = F.conv2d(flat_N1HW, weights_W[None, None, :, None])
    return flat_N1HW.view(*image_BCHW.shape[:2], *flat_N1HW.shape[2:])
