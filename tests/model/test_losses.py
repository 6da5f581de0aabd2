"""Loss terms against values computed by hand; those of equivariance are in test_parity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.networks.keypoints import Keypoints
from model.training import losses
from model.training.discriminator import Judgement
from model.training.equivariance import ThinPlateWarp, random_warp
from model.training.objective import LossTerms


def judgement(scores: list[float], *features: list[float]) -> Judgement:
    return Judgement([torch.tensor(feature) for feature in features], torch.tensor(scores))


def test_keypoint_prior_by_hand() -> None:
    # 0.15 apart: each lacks 0.1 of 0.25 to the other; the third is far from both. Mean over three keypoints.
    positions = torch.tensor([[[0.0, 0.0], [0.15, 0.0], [0.0, 0.9]]])
    assert losses.keypoint_prior(Keypoints(positions, None)).item() == pytest.approx(0.2 / 3, abs=1e-6)
    assert losses.keypoint_prior(Keypoints(3 * positions, None)).item() == 0


def test_keypoint_prior_parts_keypoints_that_are_nearly_one() -> None:
    positions = torch.tensor([[[0.0, 0.0], [1e-3, 0.0]]], requires_grad=True)
    losses.keypoint_prior(Keypoints(positions, None)).backward()
    assert positions.grad is not None
    assert positions.grad[0, :, 0].tolist() == pytest.approx([1.0, -1.0], abs=0.01)  # downhill: left and right


def test_generator_gan() -> None:
    # (1 - 1)² and (1 - 0)²: mean 1/2; the second scale (1 - 3)² = 4.
    assert losses.generator_gan([judgement([1.0, 0.0]), judgement([3.0])]).item() == pytest.approx(4.5)


def test_discriminator_gan() -> None:
    real, drawn = [judgement([1.0, 0.5])], [judgement([0.0, 2.0])]
    assert losses.discriminator_gan(real, drawn).item() == pytest.approx(0.25 / 2 + 4 / 2)
    assert losses.discriminator_gan([judgement([1.0])], [judgement([0.0])]).item() == 0


def test_feature_matching() -> None:
    real = [judgement([0.0], [1.0, 2.0], [3.0])]
    drawn = [judgement([0.0], [0.0, 2.0], [1.0])]
    assert losses.feature_matching(real, drawn, (10.0, 1.0)).item() == pytest.approx(10 * 0.5 + 2)


def test_feature_matching_pulls_only_what_was_drawn() -> None:
    real, drawn = torch.tensor([1.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)
    scores = torch.zeros(1)
    losses.feature_matching([Judgement([real], scores)], [Judgement([drawn], scores)], (10.0,)).backward()
    assert real.grad is None
    assert drawn.grad is not None
    assert drawn.grad.item() == -10


def test_l1() -> None:
    assert losses.l1(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0])).item() == 0.25


def test_l1_to_copy_counts_each_frame_by_what_copying_costs() -> None:
    source, real = torch.zeros(2, 3, 4, 4), torch.stack((torch.full((3, 4, 4), 0.8), torch.full((3, 4, 4), 0.02)))
    assert losses.l1_to_copy(source, real, source).item() == pytest.approx((0.8 / 0.81 + 0.02 / 0.03) / 2)
    assert losses.l1_to_copy(real, real, source).item() == 0
    assert losses.l1_to_copy(real, real, real).item() == 0, "a pair that does not move divides by no zero"


def test_keypoint_prior_pushes_only_those_that_are_near() -> None:
    two = Keypoints(torch.tensor([[[0.0, 0.0], [0.2, 0.0]]]), None)
    assert losses.keypoint_prior(two).item() == pytest.approx(0.05, abs=1e-4)
    assert losses.keypoint_prior(two, 0.15).item() == 0


def identity_warp() -> ThinPlateWarp:
    return random_warp(2, sigma_affine=0.0, sigma_bumps=0.0, points_per_side=5)


def test_equivariance_of_a_perfect_detector_is_zero() -> None:
    found = Keypoints(torch.rand(2, 3, 2) - 0.5, torch.eye(2).expand(2, 3, 2, 2) * 1.5)
    assert losses.equivariance_value(found, found, identity_warp()).item() == pytest.approx(0, abs=1e-6)
    assert losses.equivariance_jacobian(found, found, identity_warp()).item() == pytest.approx(0, abs=1e-6)


def test_equivariance_jacobian_by_hand() -> None:
    # J⁻¹ · dW · J_warped = diag(1/2, 1/2): each of the four entries of identity minus that is 1/2 or 0.
    positions = torch.zeros(1, 1, 2)
    detected = Keypoints(positions, 2 * torch.eye(2).view(1, 1, 2, 2))
    in_warped = Keypoints(positions, torch.eye(2).view(1, 1, 2, 2))
    warp = random_warp(1, sigma_affine=0.0, sigma_bumps=0.0, points_per_side=5)
    assert losses.equivariance_jacobian(detected, in_warped, warp).item() == pytest.approx(0.25)


def test_a_model_without_jacobians_has_no_such_term() -> None:
    found = Keypoints(torch.zeros(2, 3, 2), None)
    with pytest.raises(ValueError, match="no Jacobians"):
        losses.equivariance_jacobian(found, found, identity_warp())


def test_total_leaves_the_discriminators_own_loss_out() -> None:
    def number(value: float) -> Tensor:
        return torch.tensor(value)

    terms = LossTerms(perceptual=number(1.0), l1=number(2.0), generator_gan=number(4.0), discriminator_gan=number(8.0))
    assert terms.total().item() == 7
