"""The GPU's path against the plain networks: `pytest -m cuda`. Without a GPU only its parts that need none are run."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from model.bundle import Bundle, load_bundle
from model.bundle_index import BundleInfo, Provenance, find_bundle
from model.config import PRESETS, MotionTransferOptions
from model.errors import NumericalError
from model.inference.animator import Animator
from model.inference.cuda_convolutions import CudaBottleneck, CudaConvolution
from model.inference.cuda_kernels import add_affine_relu, affine_relu, bias_relu
from model.inference.motion_transfer import motion_reference
from model.inference.weights import plain_weights
from model.networks.assembly import Networks, assemble
from model.networks.blocks import ResBlock
from model.networks.keypoints import Keypoints, frames_of, on_device

Frames = NDArray[np.uint8]
cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]
PRECISIONS = ["fp32", "bf16", "fp16"]


def on_gpu(test: Callable[..., None]) -> Callable[..., None]:
    for mark in cuda:
        test = mark(test)
    return test


def lively(networks: Networks) -> Networks:
    """Networks that react to their input, with pictures of contrast."""
    torch.manual_seed(0)
    with torch.no_grad():
        for network in networks:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    _unsettle(module)
        networks.keypoint_detector.kp.weight.mul_(20)
        if networks.keypoint_detector.jacobian is not None:
            networks.keypoint_detector.jacobian.weight.normal_(std=0.02)
        final = networks.generator.final
        final.weight.normal_(std=8 / final.in_channels**0.5)
    return networks


def _unsettle(norm: nn.BatchNorm2d) -> None:
    norm.weight.uniform_(-1.5, 1.5)
    norm.bias.normal_(std=0.2)
    assert norm.running_mean is not None
    norm.running_mean.normal_(std=0.2)


def vox() -> Bundle:
    torch.manual_seed(0)
    config = PRESETS["vox-256"]()
    networks = lively(assemble(config))
    for block in networks.generator.bottleneck:
        nn.init.uniform_(block.norm1.weight, 0.2, 1)  # type: ignore[union-attr, arg-type]
    info = BundleInfo(
        name="vox-256",
        directory=find_bundle("avatars-256"),
        config=config,
        dtype="fp32",
        num_parameters=0,
        size_bytes=0,
        provenance=Provenance(),
    )
    return Bundle(info, networks)


def avatars() -> Bundle:
    return load_bundle(find_bundle("avatars-256"))


def frames(size: int, count: int, seed: int = 0) -> Frames:
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    large = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return large.mul(255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def run(animator: Animator, pictures: Frames, sizes: list[int]) -> Frames:
    batches = np.split(pictures[: sum(sizes)], np.cumsum(sizes)[:-1])
    prepared = animator.prepare(pictures[0])
    return np.concatenate(list(animator.animate(prepared, batches, MotionTransferOptions())))


def psnr(a: Frames, b: Frames) -> float:
    """The worst frame's."""
    errors = ((a.astype(float) - b) / 255) ** 2
    return float(-10 * np.log10(max(errors.mean(axis=(1, 2, 3)).max(), 1e-12)))


@torch.no_grad()
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("channels", "out", "relu"), [(16, 8, True), (11, 13, True), (3, 12, False)])
def test_a_convolution_of_any_number_of_channels(device: str, channels: int, out: int, relu: bool) -> None:
    plain = nn.Conv2d(channels, out, 3, padding=1, device=device)
    x = torch.randn(2, channels, 9, 8, device=device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = plain(x).relu() if relu else plain(x)
        fast = CudaConvolution(plain_weights(plain), torch.float32, padding=1, stride=1, relu=relu)
        actual = fast(x.permute(0, 2, 3, 1).contiguous())
    torch.testing.assert_close(actual.permute(0, 3, 1, 2), expected, atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num_blocks", [0, 1, 3])
def test_the_bottleneck(device: str, num_blocks: int) -> None:
    torch.manual_seed(0)
    blocks = nn.Sequential(*(ResBlock(16) for _ in range(num_blocks))).eval()
    for module in blocks.modules():
        if isinstance(module, nn.BatchNorm2d):
            _unsettle(module)
    blocks, x = blocks.to(device), torch.randn(2, 16, 6, 6, device=device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = blocks(x)
        actual = CudaBottleneck(blocks, torch.float32)(x.permute(0, 2, 3, 1).contiguous())
    torch.testing.assert_close(actual.permute(0, 3, 1, 2), expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("device", DEVICES)
def test_steps_between_convolutions_keep_what_is_no_number(device: str) -> None:
    x, scale, shift = torch.randn(2, 3, 8, device=device), *torch.randn(2, 8, device=device)
    x[0, 0, 0] = torch.nan
    torch.testing.assert_close(bias_relu(x.clone(), shift), (x + shift).relu(), equal_nan=True)
    torch.testing.assert_close(affine_relu(x, scale, shift), (x * scale + shift).relu(), equal_nan=True)
    total, activated = add_affine_relu(x.clone(), x, scale, shift)
    torch.testing.assert_close(total, 2 * x, equal_nan=True)
    torch.testing.assert_close(activated, (2 * x * scale + shift).relu(), equal_nan=True)


@on_gpu
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("make", [avatars, vox])
def test_same_pictures_as_the_plain_networks(make: Callable[[], Bundle], precision: str) -> None:
    pictures = frames(256, 13)
    expected = run(Animator(make(), "cuda", plain=True), pictures, [4, 4, 4, 1])
    assert expected.std() > 10
    actual = run(Animator(make(), "cuda", precision), pictures, [5, 5, 3])  # type: ignore[arg-type]
    assert psnr(actual, expected) >= (60 if precision == "fp32" else 40)


@on_gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_graphs_and_single_launches_agree(precision: str) -> None:
    pictures = frames(256, 12)
    straight = Animator(avatars(), "cuda", precision, graphs=False)  # type: ignore[arg-type]
    expected = run(straight, pictures, [4, 4, 3, 1])
    recorded = Animator(avatars(), "cuda", precision)  # type: ignore[arg-type]
    for _ in range(2):
        assert psnr(run(recorded, pictures, [4, 4, 3, 1]), expected) >= 50
    assert recorded._runner._drawing.sizes == [4]  # type: ignore[attr-defined]
    assert psnr(run(recorded, pictures, [8, 4]), expected) >= 50
    assert sorted(recorded._runner._drawing.sizes) == [4, 8]  # type: ignore[attr-defined]


@on_gpu
def test_more_sizes_than_are_kept() -> None:
    pictures, animator = frames(256, 9), Animator(avatars(), "cuda", "bf16")
    expected = run(animator, pictures, [9])
    for size in (1, 2, 3, 4, 5, 6, 7, 8):
        assert psnr(run(animator, pictures, [size]), expected[:size]) >= 40
    fresh = Animator(avatars(), "cuda", "bf16")
    for size in (1, 2, 3, 4, 5, 6, 7, 8):
        assert psnr(run(fresh, pictures, [size]), expected[:size]) >= 40
    assert fresh._runner._drawing.sizes == [3, 4, 5, 6, 7, 8]  # type: ignore[attr-defined]


@on_gpu
def test_two_animators_and_two_sources_in_turn() -> None:
    one, two = Animator(avatars(), "cuda", "bf16"), Animator(vox(), "cuda", "bf16")
    first, second = frames(256, 6, seed=1), frames(256, 6, seed=2)
    expected = {(id(own), id(given)): run(own, given, [4, 2]) for own in (one, two) for given in (first, second)}
    sources = {
        key: own.prepare(given[0]) for own in (one, two) for given in (first, second) for key in [(id(own), id(given))]
    }
    for _ in range(2):
        for given in (first, second):
            for own in (one, two):
                key = id(own), id(given)
                batches = [given[:4], given[4:]]
                drawn = np.concatenate(list(own.animate(sources[key], batches, MotionTransferOptions())))
                assert psnr(drawn, expected[key]) >= 45


@on_gpu
def test_batches_begun_before_the_last_ones_are_fetched() -> None:
    animator, pictures = Animator(avatars(), "cuda", "bf16"), frames(256, 24)
    options = MotionTransferOptions()
    expected = run(animator, pictures, [4] * 6)
    prepared = animator.prepare(pictures[0])
    driving = on_device(animator.keypoints(pictures), torch.device("cpu"))
    reference = motion_reference(prepared.keypoints, on_device(frames_of(driving, slice(1)), animator.device), options)
    begun = [
        animator.start(prepared, frames_of(driving, slice(start, start + 4)), reference, options)
        for start in range(0, 24, 4)
    ]
    animator.start(prepared, frames_of(driving, slice(4)), reference, options)  # whose frames nobody asks for
    drawn = [finish().frames_THWC for finish in reversed(begun)]
    assert psnr(np.concatenate(drawn[::-1]), expected) >= 45


@on_gpu
def test_an_error_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    animator, pictures = Animator(avatars(), "cuda", "bf16"), frames(256, 8)
    networks = animator._networks
    before = torch.cuda.current_stream()
    draw = networks.draw_with_occlusion
    for error_at in (1, 4):  # while it is warmed up, while it is recorded
        calls = []

        def fail(source: object, target: Keypoints, at: int = error_at, made: list[int] = calls) -> object:
            made.append(1)
            if len(made) == at:
                raise ValueError("in the middle")
            return draw(source, target)  # type: ignore[arg-type]

        monkeypatch.setattr(networks, "draw_with_occlusion", fail)
        with pytest.raises(ValueError, match="in the middle"):
            run(animator, pictures, [4, 4])
        assert torch.cuda.current_stream() == before
        monkeypatch.setattr(networks, "draw_with_occlusion", draw)
    expected = run(Animator(avatars(), "cuda", "bf16"), pictures, [4, 4])
    assert psnr(run(animator, pictures, [4, 4]), expected) >= 45


@on_gpu
def test_a_frame_that_is_no_number_is_refused_and_forgotten() -> None:
    animator, pictures = Animator(avatars(), "cuda", "bf16"), frames(256, 8)
    expected = run(animator, pictures, [4, 4])
    prepared = animator.prepare(pictures[0])
    options = MotionTransferOptions(relative=False)
    driving = frames_of(animator.keypoints(pictures), slice(4))
    reference = motion_reference(prepared.keypoints, frames_of(driving, slice(1)), options)
    broken = driving._replace(positions_BK2=torch.full_like(driving.positions_BK2, torch.nan))
    with pytest.raises(NumericalError):
        animator.draw(prepared, broken, reference, options)
    assert psnr(run(animator, pictures, [4, 3]), expected[:7]) >= 45
    assert psnr(run(animator, pictures, [3]), expected[:3]) >= 45


@on_gpu
def test_keypoints_of_one_batch_survive_the_next() -> None:
    animator, pictures = Animator(avatars(), "cuda"), frames(256, 16)
    parts = [animator.keypoints(pictures[start : start + 4]) for start in range(0, 16, 4)]
    whole = animator.keypoints(pictures)
    for number, part in enumerate(parts):
        own = frames_of(whole, slice(4 * number, 4 * number + 4))
        torch.testing.assert_close(part.positions_BK2, own.positions_BK2, atol=1e-4, rtol=0)
