import pytest
import torch

from model.config import ModelConfig
from model.networks.dense_motion import DenseMotionNetwork, blend_motions, heatmap_differences, sparse_motions
from model.networks.grid import coordinate_grid
from model.networks.keypoints import Keypoints


def some_keypoints(batch: int, *, jacobians: bool = True, seed: int = 0) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(batch, 3, 2, generator=generator) * 1.6 - 0.8
    matrices = torch.eye(2) + 0.2 * torch.randn(batch, 3, 2, 2, generator=generator)
    return Keypoints(positions, matrices if jacobians else None)


def at(keypoints: Keypoints, index: int) -> Keypoints:
    jacobians = keypoints.jacobians_BK22
    return Keypoints(
        keypoints.positions_BK2[index : index + 1], None if jacobians is None else jacobians[index : index + 1]
    )


@pytest.mark.parametrize("jacobians", [True, False])
def test_same_keypoints_give_the_identity_for_every_motion(jacobians: bool) -> None:
    same = some_keypoints(2, jacobians=jacobians)
    motions = sparse_motions(same, same, 16, 16)
    assert motions.shape == (2, 4, 16, 16, 2)
    assert torch.allclose(motions, coordinate_grid(16, 16).expand_as(motions), atol=1e-5)


def test_moved_keypoints_move_the_motion_backward() -> None:
    source = some_keypoints(1, jacobians=False)
    shift = torch.tensor([0.25, -0.5])
    motions = sparse_motions(source, Keypoints(source.positions_BK2 + shift, None), 8, 8)
    assert torch.allclose(motions[0, 0], coordinate_grid(8, 8))  # the background stays
    assert torch.allclose(motions[0, 1:], (coordinate_grid(8, 8) - shift).expand(3, -1, -1, -1), atol=1e-6)


def test_a_driver_turned_by_a_quarter_turns_the_source_back() -> None:
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(1, 1, 2, 2)
    centre = torch.zeros(1, 1, 2)
    motions = sparse_motions(Keypoints(centre, torch.eye(2).expand(1, 1, 2, 2)), Keypoints(centre, quarter), 3, 3)
    # Right of the centre in the driver was, before its turn, above the centre: (x, y) = (0, -1).
    assert torch.allclose(motions[0, 1, 1, 2], torch.tensor([0.0, -1.0]))


def test_singular_driving_jacobian_moves_by_translation_alone() -> None:
    source, driving = some_keypoints(1, seed=1), some_keypoints(1, seed=2)
    assert driving.jacobians_BK22 is not None
    driving.jacobians_BK22[0, 1] = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    motions = sparse_motions(source, driving, 8, 8)
    straight = sparse_motions(source._replace(jacobians_BK22=None), driving._replace(jacobians_BK22=None), 8, 8)
    assert torch.isfinite(motions).all()
    assert torch.allclose(motions[0, 2], straight[0, 2])
    assert not torch.allclose(motions[0, 1], straight[0, 1])


def test_heatmaps_say_where_a_keypoint_came_and_left() -> None:
    source = Keypoints(torch.tensor([[[-1.0, 0.0]]]), None)
    driving = Keypoints(torch.tensor([[[1.0, 0.0]]]), None)
    difference = heatmap_differences(source, driving, 5, 5, 0.01)
    assert difference.shape == (1, 2, 5, 5)
    assert not difference[0, 0].any()
    assert difference[0, 1, 2, 0] == -1
    assert difference[0, 1, 2, 4] == 1


def test_blend_is_the_weighted_mean() -> None:
    motions = torch.stack((torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)), dim=1)
    masks = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert torch.equal(blend_motions(masks, motions), torch.full((1, 2, 2, 2), 0.75))


def test_network_output(tiny_config: ModelConfig) -> None:
    network = DenseMotionNetwork(tiny_config).eval()
    small = network.downsample(torch.rand(1, 3, 32, 32))
    source, driving = some_keypoints(1, seed=1), some_keypoints(5, seed=2)
    motion = network(small, source, driving, keep_warped_sources=True)
    assert motion.occlusion_B1HW is not None
    assert motion.warped_sources_BMCHW is not None
    assert motion.flow_BHW2.shape == (5, 16, 16, 2)
    assert motion.occlusion_B1HW.shape == (5, 1, 16, 16)
    assert motion.warped_sources_BMCHW.shape == (5, 4, 3, 16, 16)
    assert torch.allclose(motion.masks_BMHW.sum(1), torch.ones(5, 16, 16), atol=1e-6)
    assert torch.allclose(motion.warped_sources_BMCHW[:, 0], small.expand(5, -1, -1, -1), atol=1e-5)
    assert network(small, source, driving).warped_sources_BMCHW is None


def test_dropped_keypoints_move_nothing(tiny_config: ModelConfig) -> None:
    network = DenseMotionNetwork(tiny_config).eval()
    small = network.downsample(torch.rand(2, 3, 32, 32))
    source, driving = some_keypoints(2, seed=1), some_keypoints(2, seed=2)
    dropped = torch.tensor([[True, False, True], [True, True, True]])
    masks, whole = network(small, source, driving, dropped_BK=dropped).masks_BMHW, network(small, source, driving)
    assert (masks[0, 1] == 0).all()
    assert (masks[0, 3] == 0).all()
    assert torch.allclose(masks[0].sum(0), torch.ones(16, 16), atol=1e-6)
    # What is left keeps its proportions; and with no keypoint left everything is background.
    assert torch.allclose(masks[0, 2] / masks[0, 0], whole.masks_BMHW[0, 2] / whole.masks_BMHW[0, 0], rtol=1e-4)
    assert (masks[1, 0] == 1).all()


def test_same_pose_gives_nearly_the_identity_flow(tiny_config: ModelConfig) -> None:
    network, same = DenseMotionNetwork(tiny_config).eval(), some_keypoints(1)
    flow = network(network.downsample(torch.rand(1, 3, 32, 32)), same, same).flow_BHW2
    assert torch.allclose(flow[0], coordinate_grid(16, 16), atol=1e-5)


def test_paired_sources_equal_single_sources(tiny_config: ModelConfig) -> None:
    network = DenseMotionNetwork(tiny_config).eval()
    small = network.downsample(torch.rand(2, 3, 32, 32))
    source, driving = some_keypoints(2, seed=1), some_keypoints(2, seed=2)
    together = network(small, source, driving).flow_BHW2
    for i in range(2):
        single = network(small[i : i + 1], at(source, i), at(driving, i)).flow_BHW2
        assert torch.allclose(single[0], together[i], atol=1e-5)
