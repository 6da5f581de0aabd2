import pytest
import torch

from model.networks.blocks import AntiAliasedDownsample
from model.networks.grid import coordinate_grid, gaussian_heatmaps, resize_flow, warp


def test_corners_are_pixel_centres_in_the_order_x_y() -> None:
    grid = coordinate_grid(3, 5)
    assert grid.shape == (3, 5, 2)
    assert grid[0, 0].tolist() == [-1, -1]
    assert grid[0, 4].tolist() == [1, -1]
    assert grid[2, 0].tolist() == [-1, 1]
    assert grid[1, 2].tolist() == [0, 0]


def test_a_single_pixel_is_in_the_middle() -> None:
    assert coordinate_grid(1, 1).tolist() == [[[0, 0]]]


def test_identity_flow_changes_nothing_with_aligned_corners_only() -> None:
    image = torch.rand(2, 3, 9, 7)
    identity = coordinate_grid(9, 7).expand(2, -1, -1, -1)
    assert torch.allclose(warp(image, identity, align_corners=True, padding_mode="zeros"), image, atol=1e-6)
    assert not torch.allclose(warp(image, identity, align_corners=False, padding_mode="zeros"), image, atol=1e-2)


def test_warp_is_backward() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 3] = 1  # one pixel right of the centre
    shifted = warp(
        image, coordinate_grid(5, 5)[None] + torch.tensor([0.5, 0.0]), align_corners=True, padding_mode="zeros"
    )
    assert shifted[0, 0, 2, 2] == 1


def test_one_image_is_read_by_every_flow() -> None:
    image, flows = torch.rand(1, 3, 6, 6), torch.rand(4, 6, 6, 2) * 2 - 1
    together = warp(image, flows, align_corners=True, padding_mode="zeros")
    for flow, expected in zip(flows, together, strict=True):
        single = warp(image, flow[None], align_corners=True, padding_mode="zeros")[0]
        assert torch.allclose(single, expected, atol=1e-6)


def test_coordinates_stay_exact_for_half_precision_images() -> None:
    image = torch.arange(256.0).expand(1, 1, 1, 256).to(torch.bfloat16)
    warped = warp(image, coordinate_grid(1, 256)[None], align_corners=True, padding_mode="zeros")
    assert warped.dtype == torch.bfloat16
    assert torch.equal(warped, image)


def test_padding_modes_differ_outside() -> None:
    image, outside = torch.ones(1, 1, 4, 4), torch.full((1, 1, 1, 2), 1.9)
    assert warp(image, outside, align_corners=True, padding_mode="zeros").item() == 0
    assert warp(image, outside, align_corners=True, padding_mode="reflection").item() == 1


def test_gaussian_peaks_at_its_keypoint_with_its_variance() -> None:
    heatmap = gaussian_heatmaps(torch.tensor([[[0.5, -1.0]]]), 5, 5, variance=0.01)[0, 0]
    assert heatmap[0, 3] == 1  # x = 0.5 is column 3, y = -1 is row 0
    assert heatmap[0, 2].item() == pytest.approx(float(torch.exp(torch.tensor(-0.5 * 0.25 / 0.01))))


def test_resized_identity_is_nearly_the_finer_identity() -> None:
    fine = resize_flow(coordinate_grid(16, 16)[None], 64, 64)[0]
    # Interpolated on pixel areas, as published: exact in the middle, half a coarse pixel short at the rim.
    assert torch.allclose(fine, coordinate_grid(64, 64), atol=1 / 15)


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_downsampling_keeps_a_constant_and_the_first_pixel_grid(scale: float) -> None:
    small = AntiAliasedDownsample(3, scale)(torch.full((1, 3, 32, 32), 0.7))
    assert small.shape == (1, 3, 32 * scale, 32 * scale)
    assert torch.allclose(small[:, :, 4:-4, 4:-4], torch.tensor(0.7))
