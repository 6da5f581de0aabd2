"""Our networks against recorded outputs of the published implementation, every tensor by name."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from model.config import ModelConfig, MotionTransferOptions
from model.import_original import read_checkpoint
from model.inference.motion_transfer import motion_reference, transfer_motion
from model.networks.assembly import Networks, assemble
from model.networks.blocks import AntiAliasedDownsample
from model.networks.keypoints import Keypoints
from model.published_config import from_published
from model.training.discriminator import Discriminator
from model.training.equivariance import ThinPlateWarp, warp_frames, warp_jacobians, warp_points
from model.training.losses import equivariance_jacobian, equivariance_value

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ("jacobian", "single-jacobian-map", "zeroth-order")
CHECKPOINTS = (*((case, f"{case}-cpk.pth.tar") for case in CASES), ("jacobian", "jacobian-legacy-cpk.pth.tar"))
TRANSFERS = ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1))
ATOL, RTOL = 1e-5, 1e-4


@cache
def recorded(case: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{case}.safetensors")


def config_of(case: str, *, align_corners: bool = True) -> ModelConfig:
    document = json.loads((GOLDEN / f"{case}.json").read_text())
    return from_published(document | {"align_corners": align_corners}, case)


def load_networks(config: ModelConfig, checkpoint: str) -> Networks:
    content = read_checkpoint(GOLDEN / checkpoint)
    networks = assemble(config)
    networks.keypoint_detector.load_state_dict(content["kp_detector"], strict=True)
    networks.generator.load_state_dict(content["generator"], strict=True)
    return networks


def keypoints_of(golden: dict[str, Tensor], name: str) -> Keypoints:
    return Keypoints(golden[f"{name}.value"], golden.get(f"{name}.jacobian"))


def frame(keypoints: Keypoints, index: int) -> Keypoints:
    jacobians = keypoints.jacobians_BK22
    return Keypoints(
        keypoints.positions_BK2[index : index + 1], None if jacobians is None else jacobians[index : index + 1]
    )


def named(name: str, keypoints: Keypoints) -> dict[str, Tensor]:
    values = {f"{name}.value": keypoints.positions_BK2}
    if keypoints.jacobians_BK22 is not None:
        values[f"{name}.jacobian"] = keypoints.jacobians_BK22
    return values


def detected(case: str, networks: Networks) -> dict[str, Tensor]:
    golden = recorded(case)
    return named("kp_source", networks.keypoint_detector(golden["input.source"][:1])) | named(
        "kp_driving", networks.keypoint_detector(golden["input.driving"])
    )


def transferred(case: str, networks: Networks) -> dict[str, Tensor]:
    golden = recorded(case)
    source, driving = keypoints_of(golden, "kp_source"), keypoints_of(golden, "kp_driving")
    values: dict[str, Tensor] = {}
    for relative, relative_jacobian, adapt_scale in TRANSFERS:
        if relative_jacobian and driving.jacobians_BK22 is None:
            continue
        options = MotionTransferOptions(
            relative=bool(relative), relative_jacobian=bool(relative_jacobian), adapt_scale=bool(adapt_scale)
        )
        reference = motion_reference(source, frame(driving, 0), options)
        together = transfer_motion(driving, reference, options)
        label = f"relative={relative},relative_jacobian={relative_jacobian},adapt_scale={adapt_scale}"
        for index in range(2):
            values |= named(f"kp_norm[{label}].{index}", frame(together, index))
    return values


def drawn(case: str, networks: Networks) -> dict[str, Tensor]:
    golden = recorded(case)
    source, driving = keypoints_of(golden, "kp_source"), keypoints_of(golden, "kp_driving")
    generator = networks.generator
    source_1CHW = golden["input.source"][:1]
    features_1CHW = generator.encode(source_1CHW)
    small_1CHW = generator.dense_motion_network.downsample(source_1CHW)
    values: dict[str, Tensor] = {}
    for index in range(2):
        motion = generator.dense_motion_network(small_1CHW, source, frame(driving, index), keep_warped_sources=True)
        values[f"dense_motion.{index}.mask"] = motion.masks_BMHW
        values[f"dense_motion.{index}.deformation"] = motion.flow_BHW2
        values[f"dense_motion.{index}.sparse_deformed"] = motion.warped_sources_BMCHW
        if motion.occlusion_B1HW is not None:
            values[f"dense_motion.{index}.occlusion_map"] = motion.occlusion_B1HW
        values[f"generator.{index}.prediction"] = generator.decode(features_1CHW, motion)
        values[f"generator.{index}.deformed"] = generator.move(source_1CHW, motion.flow_BHW2)
    return values


def judged(case: str, networks: Networks) -> dict[str, Tensor]:
    """In float64: scores are sums of large numbers, and the order of a sum in float32 is worth the tolerance."""
    golden = recorded(case)
    discriminator = Discriminator(config_of(case)).eval()
    discriminator.load_state_dict(read_checkpoint(GOLDEN / f"{case}-cpk.pth.tar")["discriminator"], strict=True)
    positions_BK2, jacobians_BK22 = keypoints_of(golden, "kp_driving")
    keypoints = Keypoints(positions_BK2.double(), None if jacobians_BK22 is None else jacobians_BK22.double())
    (judgement,) = discriminator.double()([golden["input.driving"].double()], keypoints)
    features = {f"discriminator.feature_maps_1.{i}": value for i, value in enumerate(judgement.features_BChw)}
    values = features | {"discriminator.prediction_map_1": judgement.scores_B1hw}
    return {name: value.float() for name, value in values.items()}


def warped(case: str, networks: Networks) -> dict[str, Tensor]:
    golden = recorded(case)
    by = ThinPlateWarp(
        golden["tps.theta"], golden["tps.control_points"].flatten(0, 2), golden["tps.control_params"].flatten(1)
    )
    transformed = warp_frames(golden["input.driving"], by, align_corners=True)
    found, driving = networks.keypoint_detector(transformed), keypoints_of(golden, "kp_driving")
    values = {
        "tps.transformed": transformed,
        "tps.warped_value": warp_points(found.positions_BK2, by),
        "loss.equivariance_value": equivariance_value(driving, found, by),
    } | named("tps.kp", found)
    if found.jacobians_BK22 is not None:
        values["tps.jacobian"] = warp_jacobians(found.positions_BK2, by)
        values["loss.equivariance_jacobian"] = equivariance_jacobian(driving, found, by)
    return values


def downsampled(case: str, networks: Networks) -> dict[str, Tensor]:
    frames = recorded(case)["input.driving"]
    return {f"antialias.{scale}": AntiAliasedDownsample(3, scale)(frames) for scale in (0.5, 0.25, 0.125)}


PARTS: tuple[Callable[[str, Networks], dict[str, Tensor]], ...] = (
    detected,
    transferred,
    drawn,
    judged,
    warped,
    downsampled,
)


def assert_same(actual: dict[str, Tensor], golden: dict[str, Tensor]) -> None:
    for name, value in actual.items():
        torch.testing.assert_close(
            value, golden[name], atol=ATOL, rtol=RTOL, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(("case", "checkpoint"), CHECKPOINTS)
@pytest.mark.parametrize("part", PARTS)
def test_same_as_published(case: str, checkpoint: str, part: Callable[[str, Networks], dict[str, Tensor]]) -> None:
    with torch.inference_mode():
        actual = part(case, load_networks(config_of(case), checkpoint))
    assert actual
    assert_same(actual, recorded(case))


@pytest.mark.parametrize("case", CASES)
def test_same_as_published_without_aligned_corners(case: str) -> None:
    networks = load_networks(config_of(case, align_corners=False), f"{case}-cpk.pth.tar")
    with torch.inference_mode():
        actual = drawn(case, networks)["generator.0.prediction"]
    golden = recorded(case)
    torch.testing.assert_close(actual, golden["generator_align_corners_false.0.prediction"], atol=ATOL, rtol=RTOL)
    assert not torch.allclose(actual, golden["generator.0.prediction"], atol=ATOL, rtol=RTOL)


@pytest.mark.parametrize("case", CASES)
def test_no_recorded_tensor_is_left_out(case: str) -> None:
    inputs = {"input.source", "input.driving", "tps.theta", "tps.control_points", "tps.control_params"}
    with torch.inference_mode():
        networks = load_networks(config_of(case), f"{case}-cpk.pth.tar")
        compared = {name for part in PARTS for name in part(case, networks)}
    assert compared | inputs | {"generator_align_corners_false.0.prediction"} == set(recorded(case))


def test_a_small_difference_would_be_seen() -> None:
    golden = {"value": torch.zeros(3)}
    with pytest.raises(AssertionError, match="value"):
        assert_same({"value": torch.full((3,), 1e-4)}, golden)
