"""A tiny model with random weights, small enough to run in milliseconds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.bundle import Bundle, save_bundle
from model.bundle import load_bundle as load
from model.bundle_index import Provenance
from model.config import DenseMotionConfig, GeneratorConfig, KeypointDetectorConfig, ModelConfig
from model.networks.assembly import Networks, assemble

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    return ModelConfig(
        name="tiny",
        frame_size=32,
        num_keypoints=3,
        keypoint_detector=KeypointDetectorConfig(
            block_expansion=4, num_blocks=2, max_features=8, temperature=0.1, scale_factor=0.5
        ),
        generator=GeneratorConfig(
            block_expansion=4,
            max_features=8,
            num_down_blocks=2,
            num_bottleneck_blocks=1,
            estimate_occlusion_map=True,
            dense_motion=DenseMotionConfig(block_expansion=4, num_blocks=2, max_features=8, scale_factor=0.5),
        ),
    )


@pytest.fixture
def tiny_networks(tiny_config: ModelConfig) -> Networks:
    torch.manual_seed(1)
    networks = assemble(tiny_config)
    assert networks.keypoint_detector.jacobian is not None
    with torch.no_grad():
        # A fresh network hardly reacts to its input: its Jacobian maps are the identity, its heatmaps are flat.
        networks.keypoint_detector.jacobian.weight.normal_(std=0.05)
        networks.keypoint_detector.kp.weight.mul_(20)
        networks.generator.final.weight.mul_(20)
    return networks


@pytest.fixture
def tiny_bundle(tiny_config: ModelConfig, tiny_networks: Networks, tmp_path: Path) -> Bundle:
    return load(save_bundle(tmp_path / "tiny", tiny_networks, tiny_config, Provenance(notes="random")))


@pytest.fixture(scope="session")
def zeroth_order_config(tiny_config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(tiny_config, name="tiny-zeroth", estimate_jacobian=False)


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    """Eight smooth random pictures of the tiny model's size."""
    coarse = np.random.default_rng(3).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)
