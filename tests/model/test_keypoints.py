import dataclasses

import pytest
import torch

from model.config import ModelConfig
from model.networks.keypoint_detector import KeypointDetector, pool_jacobians, soft_argmax
from model.networks.keypoints import invert, multiply, relative_jacobians


def test_inverse_agrees_with_linear_algebra() -> None:
    matrices = torch.randn(4, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    inverses, singular = invert(matrices)
    assert not singular.any()
    assert torch.allclose(multiply(inverses, matrices), torch.eye(2).expand_as(matrices), atol=1e-4)
    assert torch.allclose(inverses, torch.linalg.inv(matrices), rtol=1e-3)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0, 0.0], [0.0, 0.0]],
        [[1.0, 2.0], [2.0, 4.0]],
        [[1e-30, 0.0], [0.0, 1e-30]],
        [[1.0, 0.0], [0.0, 1e-8]],
        [[float("nan"), 0.0], [0.0, 1.0]],
        [[float("inf"), 0.0], [0.0, 1.0]],
        [[1e30, 0.0], [0.0, 1e30]],
    ],
)
def test_what_cannot_be_inverted_becomes_the_identity(matrix: list[list[float]]) -> None:
    inverses, singular = invert(torch.tensor([[matrix]]))
    assert singular.all()
    assert torch.equal(inverses[0, 0], torch.eye(2))
    assert torch.equal(relative_jacobians(torch.full((1, 1, 2, 2), 3.0), torch.tensor([[matrix]]))[0, 0], torch.eye(2))


def test_small_but_regular_matrices_are_inverted() -> None:
    inverses, singular = invert(torch.tensor([[[[1e-4, 0.0], [0.0, 2e-4]]]]))
    assert not singular.any()
    assert torch.allclose(inverses[0, 0], torch.tensor([[1e4, 0.0], [0.0, 5e3]]))


def test_gradient_of_a_singular_matrix_is_a_number() -> None:
    matrix = torch.zeros(1, 1, 2, 2, requires_grad=True)
    invert(matrix)[0].sum().backward()
    assert matrix.grad is not None
    assert torch.isfinite(matrix.grad).all()


def test_a_product_that_overflows_becomes_the_identity() -> None:
    huge, tiny = torch.full((1, 1, 2, 2), 1e38), 1e-3 * torch.eye(2).expand(1, 1, 2, 2)
    assert torch.equal(relative_jacobians(huge, tiny)[0, 0], torch.eye(2))


def test_soft_argmax_finds_a_peak() -> None:
    heatmap = torch.zeros(1, 1, 5, 9)
    heatmap[0, 0, 4, 6] = 1
    assert soft_argmax(heatmap)[0, 0].tolist() == [0.5, 1.0]


def test_one_jacobian_map_serves_every_keypoint() -> None:
    heatmaps = torch.zeros(1, 2, 3, 3)
    heatmaps[0, 0, 0, 0] = heatmaps[0, 1, 2, 2] = 1
    maps = torch.arange(36.0).view(1, 1, 4, 3, 3)
    assert pool_jacobians(heatmaps, maps).tolist() == [[[[0, 9], [18, 27]], [[8, 17], [26, 35]]]]


def test_fresh_detector_has_identity_jacobians_and_positions_inside(tiny_config: ModelConfig) -> None:
    found = KeypointDetector(tiny_config).eval()(torch.rand(2, 3, 32, 32))
    assert found.jacobians_BK22 is not None
    assert torch.allclose(found.jacobians_BK22, torch.eye(2).expand(2, 3, 2, 2), atol=1e-6)
    assert found.positions_BK2.abs().max() <= 1


def test_detector_without_jacobians(zeroth_order_config: ModelConfig) -> None:
    assert KeypointDetector(zeroth_order_config).eval()(torch.rand(1, 3, 32, 32)).jacobians_BK22 is None


def test_lower_temperature_is_sharper(tiny_config: ModelConfig) -> None:
    torch.manual_seed(0)
    detector, frames = KeypointDetector(tiny_config).eval(), torch.rand(1, 3, 32, 32)
    soft = detector(frames).positions_BK2
    sharp_config = dataclasses.replace(tiny_config.keypoint_detector, temperature=1e-3)
    sharp = KeypointDetector(dataclasses.replace(tiny_config, keypoint_detector=sharp_config)).eval()
    sharp.load_state_dict(detector.state_dict())
    # A blurred heatmap averages towards the middle; a sharp one names a pixel.
    assert sharp(frames).positions_BK2.abs().sum() > soft.abs().sum()
