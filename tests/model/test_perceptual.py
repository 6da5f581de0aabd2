"""The perceptual loss and its backbones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.errors import ConfigError
from model.training.backbones import EfficientNetLite0, Vgg19, load_backbone
from model.training.errors import TrainingError
from model.training.perceptual import PerceptualLoss
from model.training.settings import PerceptualConfig
from tests.model.training_runs import smooth_frames

WEIGHTS = (10.0, 10.0, 10.0, 10.0, 10.0)


@pytest.fixture(scope="module")
def lite0() -> PerceptualLoss:
    return PerceptualLoss(PerceptualConfig(backbone="efficientnet-lite0", scales=(1.0, 0.5)), WEIGHTS, 64)


def test_equal_frames_have_no_distance(lite0: PerceptualLoss) -> None:
    frames = smooth_frames(2, 64)
    assert lite0(frames, frames).item() == 0


def test_unlike_frames_are_far_apart_and_blurred_ones_less(lite0: PerceptualLoss) -> None:
    frames = smooth_frames(4, 64)
    unlike = lite0(frames, frames.roll(1, 0)).item()
    noisy = lite0(frames, (frames + 0.02 * torch.randn_like(frames)).clamp(0, 1)).item()
    assert 0 < noisy < unlike


def test_gradients_flow_into_the_drawn_frame_only(lite0: PerceptualLoss) -> None:
    drawn, real = smooth_frames(1, 64, seed=1).requires_grad_(), smooth_frames(1, 64, seed=2).requires_grad_()
    lite0(drawn, real).backward()
    assert drawn.grad is not None
    assert drawn.grad.abs().sum() > 0
    assert real.grad is None


def test_the_backbone_stays_frozen_and_in_eval(lite0: PerceptualLoss) -> None:
    lite0.train()
    assert not any(module.training for module in lite0.modules())
    assert not any(parameter.requires_grad for parameter in lite0.parameters())


def test_a_weight_of_zero_switches_a_layer_off(lite0: PerceptualLoss) -> None:
    one = PerceptualLoss(PerceptualConfig(backbone="efficientnet-lite0", scales=(1.0,)), (0, 0, 2.0, 0, 0), 64)
    drawn, real = smooth_frames(1, 64, seed=1), smooth_frames(1, 64, seed=2)
    by_hand = 2 * (one.features(drawn)[2] - one.features(real)[2]).abs().mean()
    torch.testing.assert_close(one(drawn, real), by_hand)


def test_the_weights_of_lite0_are_real() -> None:
    """Trained weights tell an edge from noise: features of a picture are sparse where random ones are not."""
    network, file = load_backbone("efficientnet-lite0")
    assert file.sha256.startswith("57934424")
    assert isinstance(network, EfficientNetLite0)
    shapes = [tuple(feature.shape[1:]) for feature in network(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(32, 32, 32), (16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4)]


def test_vgg_has_the_layers_of_the_paper() -> None:
    network = Vgg19()
    # In torchvision's numbering relu1_1 is 1, relu2_1 6, relu3_1 11, relu4_1 20, relu5_1 29.
    assert network.taps == [1, 6, 11, 20, 29]
    shapes = [tuple(feature.shape[1:]) for feature in network(torch.zeros(1, 3, 32, 32))]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vgg_weights_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    original = Vgg19()
    path = tmp_path / f"vgg19{suffix}"
    # torchvision's file has the rest of the network too.
    state = original.state_dict() | {"features.34.bias": torch.zeros(512), "classifier.6.bias": torch.zeros(1000)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded, file = load_backbone("vgg19", str(path))
    assert len(file.sha256) == 64
    frames = smooth_frames(1, 32)
    for ours, theirs in zip(loaded(frames), original(frames), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(TrainingError) as refusal:
        load_backbone("vgg19", str(path))
    assert refusal.value.code == "backbone_mismatch"
    with pytest.raises(TrainingError) as refusal:
        load_backbone("vgg19", str(tmp_path / "absent.pth"))
    assert refusal.value.code == "backbone_not_found"


def test_absent_vgg_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("model.training.backbones.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="efficientnet-lite0"):
        load_backbone("vgg19")
    with pytest.raises(TrainingError, match=r"animato\[train\]"):
        load_backbone("efficientnet-lite0")


def test_a_scale_too_small_for_the_backbone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg19.safetensors"
    save_file(Vgg19().state_dict(), path)
    config = PerceptualConfig(backbone="vgg19", weights_file=str(path), scales=(1.0, 0.125))
    with pytest.raises(ConfigError, match="8 pixels"):
        PerceptualLoss(config, WEIGHTS, 64)
