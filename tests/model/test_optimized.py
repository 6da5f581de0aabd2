"""The fast path against the plain networks, each trick alone and all together."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from model.bundle import Bundle, load_bundle
from model.bundle_index import find_bundle
from model.config import PRESETS, GeneratorConfig, ModelConfig
from model.inference import winograd
from model.inference.animator import Animator
from model.inference.convolutions import Convolution, EdgeConvolution, UpsampledConvolution
from model.inference.downsampling import AntiAliasedLines
from model.inference.optimized import FastNetworks
from model.inference.plain import PlainNetworks
from model.inference.residual import Bottleneck, WinogradBlock
from model.inference.sampling import bilinear_taps, dimmed, sample
from model.inference.weights import fold_norm, norm_as_affine, plain_weights
from model.networks.assembly import Networks, assemble
from model.networks.blocks import AntiAliasedDownsample, ResBlock
from model.networks.grid import warp

TOLERANCE = 2e-5


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def last(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.permute(0, 2, 3, 1).contiguous()


def first(x_BHWC: Tensor) -> Tensor:
    return x_BHWC.permute(0, 3, 1, 2)


def unsettled(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A norm as after training: a fresh one does nothing, and could be forgotten unseen."""
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(std=0.2)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(std=0.2)
        norm.running_var.uniform_(0.5, 2)
    return norm.eval()


def lively(config: ModelConfig) -> Networks:
    """Random networks that react to their input in every part, with pictures of contrast."""
    networks = assemble(config)
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                unsettled(module)
    detector, generator = networks
    with torch.no_grad():
        detector.kp.weight.mul_(20)
        if detector.jacobian is not None:
            detector.jacobian.weight.normal_(std=0.02)
        generator.final.weight.normal_(std=8 / generator.final.in_channels**0.5)
    return networks


def frames(size: int, count: int = 3) -> Tensor:
    coarse = torch.rand(count, 3, 8, 8)
    return F.interpolate(coarse, size=(size, size), mode="bilinear")


def drawn(networks: PlainNetworks | FastNetworks, pictures: Tensor) -> Tensor:
    with torch.inference_mode():
        source = networks.prepare(pictures[:1])
        return networks.draw(source, networks.detect(pictures))  # type: ignore[arg-type]


def psnr(a: Tensor, b: Tensor) -> float:
    """The worst frame's."""
    return float(-10 * (a - b).square().mean((1, 2, 3)).max().log10())


@torch.no_grad()
def test_a_norm_is_folded_into_the_convolution_before_it() -> None:
    convolution, norm, x = nn.Conv2d(4, 6, 3, padding=1), unsettled(nn.BatchNorm2d(6)), torch.randn(2, 4, 9, 7)
    weights = fold_norm(convolution, norm)
    actual = F.conv2d(x, weights.weight_OCkk, weights.bias_O, padding=1)
    torch.testing.assert_close(actual, norm(convolution(x)), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_a_norm_is_an_affine_map_of_each_channel() -> None:
    norm, x = unsettled(nn.BatchNorm2d(6)), torch.randn(2, 6, 5, 5)
    scale, shift = norm_as_affine(norm)
    actual = x * scale.float()[:, None, None] + shift.float()[:, None, None]
    torch.testing.assert_close(actual, norm(x), atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(2, 2), (8, 8), (9, 11)])
def test_upsampling_on_the_small_image(height: int, width: int) -> None:
    convolution, x = nn.Conv2d(5, 3, 3, padding=1), torch.randn(2, 5, height, width)
    expected = F.relu(convolution(F.interpolate(x, scale_factor=2, mode="nearest")))
    actual = UpsampledConvolution(plain_weights(convolution), torch.float32, height)(last(x))
    torch.testing.assert_close(first(actual), expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(8, 10), (9, 7), (1, 2)])
def test_the_last_convolution_on_blocks_of_pixels(height: int, width: int) -> None:
    convolution, x = nn.Conv2d(5, 3, 7, padding=3), torch.randn(2, 5, height, width)
    actual = EdgeConvolution(plain_weights(convolution), torch.float32).of_pixels(last(x))
    torch.testing.assert_close(first(actual), convolution(x), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_the_last_convolution_takes_the_blocks_of_the_last_up_block() -> None:
    up, edge, x = nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 3, 7, padding=3), torch.randn(2, 4, 8, 9)
    expected = edge(F.relu(up(F.interpolate(x, scale_factor=2, mode="nearest"))))
    blocks = UpsampledConvolution(plain_weights(up), torch.float32, 8).phases(last(x))
    actual = EdgeConvolution(plain_weights(edge), torch.float32).of_blocks(blocks)
    torch.testing.assert_close(first(actual), expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_winograd_is_a_convolution() -> None:
    convolution, x = nn.Conv2d(7, 5, 3, padding=1, bias=False), torch.randn(1, 7, 12, 8)
    padded = F.pad(last(x)[0], (0, 0, 1, 1, 1, 1))
    actual = winograd.WinogradConvolution(convolution.weight, torch.float32)(padded).reshape(1, 12, 8, 5)
    torch.testing.assert_close(first(actual), convolution(x), atol=TOLERANCE, rtol=0)


def test_winograds_transforms_are_exact_in_bfloat16() -> None:
    output, _, inputs = winograd.transforms()
    for matrix in (output, inputs):
        square = torch.kron(matrix, matrix)
        assert torch.equal(square.bfloat16().double(), square)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, TOLERANCE), (torch.bfloat16, 0.03)])
def test_a_convolution_is_added_in_place(dtype: torch.dtype, tolerance: float) -> None:
    convolution, x, before = nn.Conv2d(16, 16, 3, padding=1), torch.randn(2, 16, 8, 8), torch.randn(2, 16, 8, 8)
    sum_BHWC = last(before).to(dtype)
    Convolution(plain_weights(convolution), dtype, padding=1, relu=False).add_to(sum_BHWC, last(x).to(dtype))
    torch.testing.assert_close(first(sum_BHWC.float()), before + convolution(x), atol=tolerance, rtol=0)


def two_blocks(channels: int) -> nn.Sequential:
    blocks = nn.Sequential(*(ResBlock(channels) for _ in range(2))).eval()
    for module in blocks.modules():
        if isinstance(module, nn.BatchNorm2d):
            unsettled(module)
    return blocks


@torch.no_grad()
@pytest.mark.parametrize("has_matrix_units", [True, False])
def test_the_bottleneck_in_bf16(has_matrix_units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With matrix units directly, without them by Winograd's convolutions, which round more."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_matrix_units)
    blocks = two_blocks(128)
    x = torch.randn(3, 128, 8, 8)
    fast = Bottleneck(blocks, torch.bfloat16, 8)
    assert isinstance(fast._blocks[0], WinogradBlock) is not has_matrix_units
    error = first(fast(last(x).bfloat16()).float()) - blocks(x)
    assert error.std() < (0.005 if has_matrix_units else 0.03) * blocks(x).std()


@torch.no_grad()
@pytest.mark.parametrize(("channels", "size", "in_tiles"), [(128, 8, True), (128, 6, False), (8, 8, False)])
def test_the_bottleneck(channels: int, size: int, in_tiles: bool) -> None:
    blocks = two_blocks(channels)
    x = torch.randn(3, channels, size, size)
    fast = Bottleneck(blocks, torch.float32, size)
    assert isinstance(fast._blocks[0], WinogradBlock) is in_tiles
    torch.testing.assert_close(first(fast(last(x))), blocks(x), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("align_corners", [True, False])
def test_sampling_is_warping(align_corners: bool) -> None:
    image, flow = torch.randn(1, 6, 9, 7), torch.rand(3, 5, 8, 2) * 3 - 1.5
    flow[0, 0, 0] = torch.tensor([1.0, -1.0])
    flow[0, 0, 1] = torch.tensor([50.0, -1e30])
    visible = torch.rand(3, 5, 8)
    expected = warp(image, flow, align_corners=align_corners, padding_mode="zeros") * visible[:, None]
    taps = dimmed(bilinear_taps(flow, 9, 7, align_corners=align_corners), visible)
    torch.testing.assert_close(first(sample(last(image)[0], taps)), expected, atol=TOLERANCE, rtol=0)


def test_sampling_never_leaves_the_table() -> None:
    flow = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e38]).repeat(2, 1).T.reshape(1, 2, 2, 2)
    taps = bilinear_taps(flow, 3, 3, align_corners=True)
    assert taps.index_P4.min() >= 0
    assert taps.index_P4.max() < 9
    assert taps.weight_P4[0].isnan().all()  # so that the animator sees it


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.5, 0.25, 0.125])
def test_downsampling_as_matrix_products(scale: float) -> None:
    plain, x = AntiAliasedDownsample(3, scale), torch.rand(2, 3, 32, 24)
    torch.testing.assert_close(AntiAliasedLines(plain)(x), plain(x), atol=TOLERANCE, rtol=0)


Change = Callable[[ModelConfig], ModelConfig]


def generator(**changes: object) -> Change:
    def change(config: ModelConfig) -> ModelConfig:
        own: GeneratorConfig = dataclasses.replace(config.generator, **changes)  # type: ignore[arg-type]
        return dataclasses.replace(config, generator=own)

    return change


def whole(**changes: object) -> Change:
    return lambda config: dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def odd(config: ModelConfig) -> ModelConfig:
    """Odd at every level: no halvings in the generator, full scale for the others."""
    detector = dataclasses.replace(config.keypoint_detector, scale_factor=1.0, num_blocks=1)
    dense = dataclasses.replace(config.generator.dense_motion, scale_factor=1.0, num_blocks=1)
    own = dataclasses.replace(config.generator, dense_motion=dense, num_down_blocks=1)
    return dataclasses.replace(config, frame_size=26, keypoint_detector=detector, generator=own)


KINDS: dict[str, Change] = {
    "published layout": lambda config: config,
    "skips": generator(skips=True),
    "no occlusion": generator(estimate_occlusion_map=False),
    "skips, no occlusion": generator(skips=True, estimate_occlusion_map=False),
    "no Jacobians": whole(estimate_jacobian=False),
    "corners not aligned": whole(align_corners=False),
    "no bottleneck": generator(num_bottleneck_blocks=0),
    "Winograd": generator(max_features=128, block_expansion=64, num_bottleneck_blocks=2),
    "odd features": odd,
}


@pytest.mark.parametrize("kind", KINDS)
def test_same_pictures(tiny_config: ModelConfig, kind: str) -> None:
    config = KINDS[kind](tiny_config)
    networks, pictures = lively(config), frames(config.frame_size)
    before = {name: value.clone() for network in networks for name, value in network.state_dict().items()}
    fast = drawn(FastNetworks(networks, config, torch.float32), pictures)
    expected = drawn(PlainNetworks(networks, torch.float32), pictures)
    assert expected.std() > 0.05
    torch.testing.assert_close(fast, expected, atol=2e-4, rtol=0)
    after = {name: value for network in networks for name, value in network.state_dict().items()}
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_near(tiny_config: ModelConfig, kind: str) -> None:
    config = KINDS[kind](tiny_config)
    networks, pictures = lively(config), frames(config.frame_size)
    fast = drawn(FastNetworks(networks, config, torch.bfloat16), pictures)
    assert psnr(fast, drawn(PlainNetworks(networks, torch.float32), pictures)) >= 40


def test_vox_256_in_both_precisions() -> None:
    config = PRESETS["vox-256"]()
    networks, pictures = lively(config), frames(256, 2)
    expected = drawn(PlainNetworks(networks, torch.float32), pictures)
    assert expected.std() > 0.05
    assert psnr(drawn(FastNetworks(networks, config, torch.float32), pictures), expected) >= 80
    assert psnr(drawn(FastNetworks(networks, config, torch.bfloat16), pictures), expected) >= 40


def pixels_of(animator: Animator, pictures: NDArray[np.uint8]) -> Tensor:
    (animated,) = animator.animate(animator.prepare(pictures[0]), [pictures])
    return torch.from_numpy(animated).float() / 255


def test_the_shipped_bundle_through_the_animator() -> None:
    pictures = frames(256, 4).mul(255).byte().permute(0, 2, 3, 1).numpy()
    directory = find_bundle("avatars-256")
    expected = pixels_of(Animator(load_bundle(directory), "cpu", plain=True), pictures)
    assert psnr(pixels_of(Animator(load_bundle(directory), "cpu"), pictures), expected) >= 60
    assert psnr(pixels_of(Animator(load_bundle(directory), "cpu", "bf16"), pictures), expected) >= 40


def test_fast_is_the_default(tiny_bundle: Bundle) -> None:
    assert isinstance(Animator(tiny_bundle, "cpu")._networks, FastNetworks)
    assert isinstance(Animator(tiny_bundle, "cpu", plain=True)._networks, PlainNetworks)
