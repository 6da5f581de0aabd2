"""Loss terms: one function for each, named as its weight in `LossWeights` and in the logs.

`perceptual`, the one term with weights of its own, is a module: `model.training.perceptual.PerceptualLoss`.

Shapes: B batch, C channels, H W height and width, h w of a feature map, K keypoints, 2 = (x, y), 22 = 2x2 matrix.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from model.networks.keypoints import Keypoints, invert, multiply
from model.training.discriminator import Judgement
from model.training.equivariance import ThinPlateWarp, warp_jacobians, warp_points


def equivariance_value(detected: Keypoints, detected_in_warped: Keypoints, by: ThinPlateWarp) -> Tensor:
    """Mean distance (L1) between a keypoint and the place where the warp takes its twin of the warped frame."""
    expected_BK2 = warp_points(detected_in_warped.positions_BK2, by)
    return (detected.positions_BK2 - expected_BK2).abs().mean()


def equivariance_jacobian(detected: Keypoints, detected_in_warped: Keypoints, by: ThinPlateWarp) -> Tensor:
    """Mean distance (L1) from the identity of J⁻¹ (dW · J_warped): the first-order half of equivariance.

    Keypoints whose J cannot be inverted count as if J were the identity, which pulls them back to where it can be.
    Raises `ValueError` for a zeroth-order model, which has no Jacobians.
    """
    if detected.jacobians_BK22 is None or detected_in_warped.jacobians_BK22 is None:
        raise ValueError("a zeroth-order model has no Jacobians")
    slopes_BK22 = warp_jacobians(detected_in_warped.positions_BK2, by)
    expected_BK22 = multiply(slopes_BK22, detected_in_warped.jacobians_BK22)
    inverses_BK22, _ = invert(detected.jacobians_BK22)
    identity_22 = torch.eye(2, device=expected_BK22.device)
    return (identity_22 - multiply(inverses_BK22, expected_BK22)).abs().mean()


def keypoint_prior(detected: Keypoints, closest: float = 0.25) -> Tensor:
    """Push keypoints of a frame apart that are closer than `closest` (1 is half a frame): none is wasted on another.

    Summed over the other keypoints, mean over keypoints. Not in the paper: the idea is the keypoint prior of Wang et
    al. 2021 (one-shot talking heads). They measure squared distances, whose push vanishes where it is needed most.
    """
    offsets_BKK2 = detected.positions_BK2[:, :, None] - detected.positions_BK2[:, None]
    # The small number keeps the gradient of the root finite where two keypoints are one.
    distances_BKK = (offsets_BKK2.square().sum(-1) + 1e-8).sqrt()
    others_KK = 1 - torch.eye(distances_BKK.shape[1], device=distances_BKK.device)
    return (torch.relu(closest - distances_BKK) * others_KK).sum(-1).mean()


def generator_gan(of_drawn: Sequence[Judgement]) -> Tensor:
    """Least-squares GAN, the generator's side: drawn patches should be scored 1. Summed over scales."""
    return _summed((1 - judgement.scores_B1hw.float()).square().mean() for judgement in of_drawn)


def discriminator_gan(of_real: Sequence[Judgement], of_drawn: Sequence[Judgement]) -> Tensor:
    """Least-squares GAN, the discriminator's side: real patches should score 1, drawn ones 0. Summed over scales."""
    return _summed(
        (1 - real.scores_B1hw.float()).square().mean() + drawn.scores_B1hw.float().square().mean()
        for real, drawn in zip(of_real, of_drawn, strict=True)
    )


def feature_matching(of_real: Sequence[Judgement], of_drawn: Sequence[Judgement], weights: Sequence[float]) -> Tensor:
    """Weighted distance (L1) between the discriminator's features of real and drawn frames, over blocks and scales.

    The features of the real frames are a target: no gradient flows into them.
    """
    return _summed(
        weight * (real_BChw.detach().float() - drawn_BChw.float()).abs().mean()
        for real, drawn in zip(of_real, of_drawn, strict=True)
        for weight, real_BChw, drawn_BChw in zip(weights, real.features_BChw, drawn.features_BChw, strict=True)
    )


def l1(drawn_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
    """Mean distance of colours. Not in the paper; it steadies small backbones, which see colours only roughly."""
    return (drawn_BCHW - real_BCHW).abs().mean()


def l1_to_copy(drawn_BCHW: Tensor, real_BCHW: Tensor, source_BCHW: Tensor) -> Tensor:
    """Distance of colours as a share of that of the source itself, mean over frames: 1 is no better than copying.

    Not in the paper. A pair in which only the mouth moves counts as much as one in which the head does.
    """
    drawn_B, copied_B = (
        (frames_BCHW - real_BCHW).abs().mean(dim=(1, 2, 3)) for frames_BCHW in (drawn_BCHW, source_BCHW)
    )
    # Two and a half levels of 255: pairs that hardly move must not count without bound.
    return (drawn_B / (copied_B + 0.01)).mean()


def _summed(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
