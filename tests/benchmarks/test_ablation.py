"""The ablation's variants, and its command on networks too small and steps too few to learn anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.ablation import VARIANTS, main, variant
from model.training.settings import TrainConfig


def named(name: str) -> TrainConfig:
    return variant(name, steps=10, batch_size=8, seed=3, workers=0)


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("no-jacobians", {"model.estimate_jacobian"}),
        ("no-occlusion", {"model.generator.estimate_occlusion_map"}),
        ("single-scale", {"perceptual.scales", "losses.perceptual"}),
        ("no-jacobian-equivariance", {"losses.equivariance_jacobian"}),
        ("keypoint-prior", {"losses.keypoint_prior"}),
        ("prior-and-skips", {"losses.keypoint_prior", "model.generator.skips"}),
    ],
)
def test_a_variant_differs_from_the_full_method_in_one_thing(name: str, changed: set[str]) -> None:
    full, other = leaves(named("full").to_dict()), leaves(named(name).to_dict())
    assert {key for key in full if full[key] != other[key]} - {"name", "model.name"} == changed


def test_the_full_method_is_the_published_one() -> None:
    config = named("full")
    assert not config.model.generator.skips
    assert config.losses.keypoint_prior == 0
    assert config.keypoint_dropout == 0
    assert config.model.estimate_jacobian
    assert config.model.generator.estimate_occlusion_map


def test_every_variant_is_named_and_seeded_alike() -> None:
    assert {named(name).seed for name in VARIANTS} == {3}
    assert [named(name).name for name in VARIANTS] == [f"ablation-{name}" for name in VARIANTS]


@pytest.mark.slow
def test_the_command_trains_resumes_and_compares(tmp_path: Path) -> None:
    small = ["-o", str(tmp_path), "--frame-size", "32", "--batch-size", "2", "--workers", "0", "--identities", "4"]
    only = ["--only", "full", "--only", "no-jacobians"]
    runner = CliRunner()
    assert runner.invoke(main, [*small, *only, "--steps", "2", "--train-only"], catch_exceptions=False).exit_code == 0
    trained = sorted(path.name for path in (tmp_path / "bundles").iterdir())
    assert trained == ["full", "no-jacobians"]
    before = (tmp_path / "runs" / "full" / "metrics.jsonl").read_text()
    result = runner.invoke(main, [*small, *only, "--steps", "2"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "runs" / "full" / "metrics.jsonl").read_text() == before  # what is trained is not trained again
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert "no-jacobians" in json.dumps(metrics)
    assert "no-jacobians" in result.output
    assert (tmp_path / "evaluation" / "evaluation.png").stat().st_size > 1000


def test_a_longer_run_gives_another_bundle(tmp_path: Path) -> None:
    small = ["-o", str(tmp_path), "--frame-size", "32", "--batch-size", "2", "--workers", "0", "--only", "full"]
    for steps in ("1", "2"):
        CliRunner().invoke(main, [*small, "--steps", steps, "--train-only"], catch_exceptions=False)
        config = json.loads((tmp_path / "bundles" / "full" / "config.json").read_text())
        assert f"{steps} of {steps} steps" in json.dumps(config)
