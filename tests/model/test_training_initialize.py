"""Starting from weights that exist, also at another size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.bundle import bundle_state, save_bundle
from model.bundle_index import Provenance
from model.networks.assembly import assemble
from model.training.errors import TrainingError
from model.training.initialize import initialize_networks
from model.training.presets import PRESETS
from model.training.train import run_training
from tests.model.training_runs import ShiftedBlobs, one_thread, tiny_model, tiny_run

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")


def saved(path: Path, **changes: Any) -> Path:
    model = tiny_model(**changes)
    torch.manual_seed(1)
    return save_bundle(path, assemble(model), model, Provenance())


def test_the_same_networks_at_twice_the_size(tmp_path: Path) -> None:
    source = saved(tmp_path / "small", frame_size=32)
    torch.manual_seed(2)
    networks = assemble(tiny_model(frame_size=64))
    blur = networks.keypoint_detector.down.weight.clone()  # type: ignore[union-attr, operator]
    taken = initialize_networks(networks, source)
    assert taken.fresh == ()
    assert torch.equal(networks.keypoint_detector.down.weight, blur)  # type: ignore[arg-type]
    torch.manual_seed(1)
    small = bundle_state(assemble(tiny_model(frame_size=32)))
    for key, value in bundle_state(networks).items():
        assert key.endswith(".down.weight") or torch.equal(value, small[key]), key


def test_a_generator_that_gains_an_outer_block(tmp_path: Path) -> None:
    small = tiny_model(frame_size=32)
    grown = tiny_model(frame_size=64)
    grown = replace(grown, generator=replace(grown.generator, num_down_blocks=2, block_expansion=2))
    source = saved(tmp_path / "small", frame_size=32)
    networks = assemble(grown)
    taken = initialize_networks(networks, source)
    torch.manual_seed(1)
    old, new = bundle_state(assemble(small)), bundle_state(networks)
    assert torch.equal(new["generator.down_blocks.1.conv.weight"], old["generator.down_blocks.0.conv.weight"])
    assert torch.equal(new["generator.up_blocks.0.conv.weight"], old["generator.up_blocks.0.conv.weight"])
    assert torch.equal(new["generator.bottleneck.r0.conv1.weight"], old["generator.bottleneck.r0.conv1.weight"])
    fresh = {key.split(".")[1] + "." + key.split(".")[2] for key in taken.fresh}
    assert fresh == {"down_blocks.0", "up_blocks.1", "first.conv", "first.norm", "final.weight"}


def test_a_generator_that_loses_its_outer_block(tmp_path: Path) -> None:
    large = tiny_model(frame_size=64)
    large = replace(large, generator=replace(large.generator, num_down_blocks=2, block_expansion=2))
    torch.manual_seed(1)
    source = save_bundle(tmp_path / "large", assemble(large), large, Provenance())
    networks = assemble(tiny_model(frame_size=32))
    taken = initialize_networks(networks, source)
    torch.manual_seed(1)
    old, new = bundle_state(assemble(large)), bundle_state(networks)
    assert torch.equal(new["generator.down_blocks.0.conv.weight"], old["generator.down_blocks.1.conv.weight"])
    assert torch.equal(new["generator.up_blocks.0.conv.weight"], old["generator.up_blocks.0.conv.weight"])
    assert torch.equal(new["keypoint_detector.kp.weight"], old["keypoint_detector.kp.weight"])
    assert {".".join(key.split(".")[1:3]) for key in taken.fresh} == {"first.conv", "first.norm", "final.weight"}


def test_a_generator_that_gains_skips_learns_its_occlusion_map_anew(tmp_path: Path) -> None:
    plain, filling = tiny_model(frame_size=32), tiny_model(frame_size=32)
    filling = replace(filling, generator=replace(filling.generator, skips=True))
    networks = assemble(filling)
    taken = initialize_networks(networks, saved(tmp_path / "plain", frame_size=32))
    head = "generator.dense_motion_network.occlusion."
    assert taken.fresh == (head + "weight", head + "bias")
    assert networks.generator.dense_motion_network.occlusion is not None
    assert networks.generator.dense_motion_network.occlusion.weight.count_nonzero() == 0
    # The other way round, and from skips to skips, there is nothing to unlearn.
    source = save_bundle(tmp_path / "filling", networks, filling, Provenance())
    for model in (plain, filling):
        assert initialize_networks(assemble(model), source).fresh == ()


def test_the_growing_presets_fit_each_other(tmp_path: Path) -> None:
    previous: Path | None = None
    for name in ("avatars-64", "avatars-128", "avatars-256"):
        model = PRESETS[name]().model
        networks = assemble(model)
        if previous is not None:
            taken = initialize_networks(networks, previous)
            assert not any("dense_motion" in key or "keypoint" in key for key in taken.fresh)
            assert bool(taken.fresh) == (name == "avatars-256")
        previous = save_bundle(tmp_path / name, networks, model, Provenance())


@pytest.mark.parametrize("change", [{"num_keypoints": 4}, {"estimate_jacobian": False}])
def test_another_model_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    networks = assemble(tiny_model(**change))
    with pytest.raises(TrainingError) as refusal:
        initialize_networks(networks, saved(tmp_path / "other"))
    assert refusal.value.code == "initial_weights_mismatch"


def test_a_run_goes_on_at_twice_the_size(tmp_path: Path) -> None:
    run_training(tiny_run(num_steps=2, ema_decay=0.9), ShiftedBlobs(), tmp_path / "small")
    config = tiny_run(num_steps=2, model=tiny_model(frame_size=64))
    path = run_training(config, ShiftedBlobs(size=64), tmp_path / "large", init_from=tmp_path / "small")
    assert path.exists()
