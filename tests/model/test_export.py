"""From a run to a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model import export
from model.bundle import bundle_state, load_bundle
from model.errors import BundleError
from model.export import export_bundle, refuse_difference
from model.networks.assembly import assemble
from model.training.checkpoint import latest_checkpoint, load_checkpoint
from model.training.errors import TrainingError
from model.training.train import run_training
from tests.model.training_runs import ShiftedBlobs, one_thread, tiny_model, tiny_run

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    run_training(tiny_run(num_steps=3, ema_decay=0.5), ShiftedBlobs(), output, facts={"data": "shifted blobs"})
    return output


@pytest.mark.parametrize("half", [False, True])
def test_a_bundle_holds_the_moving_average(run: Path, tmp_path: Path, half: bool) -> None:
    bundle = load_bundle(export_bundle(run, tmp_path / "tiny", half=half, licence="MIT", notes="A test."))
    checkpoint = load_checkpoint(latest_checkpoint(run))
    assert checkpoint.ema is not None
    expected = checkpoint.ema["generator"]["final.weight"]
    actual = bundle_state(bundle.networks)["generator.final.weight"]
    torch.testing.assert_close(actual, expected, atol=1e-3 if half else 0, rtol=1e-3 if half else 0)
    assert not torch.equal(actual, checkpoint.generator["final.weight"])
    assert bundle.info.dtype == ("fp16" if half else "fp32")
    assert bundle.config == checkpoint.config.model


def test_a_bundle_says_where_it_comes_from(run: Path, tmp_path: Path) -> None:
    provenance = load_bundle(export_bundle(run, tmp_path / "tiny", licence="MIT", notes="A test.")).info.provenance
    assert provenance.source_file == "step-00000003.pt"
    assert provenance.licence == "MIT"
    for part in ("A test.", "3 of 3 steps", "32 pixels", "shifted blobs", "total", "moving average"):
        assert part in provenance.notes


def test_a_bundle_tells_no_path_of_whoever_made_it(run: Path, tmp_path: Path) -> None:
    run_training(tiny_run(num_steps=1), ShiftedBlobs(), tmp_path / "tuned", init_from=latest_checkpoint(run))
    notes = load_bundle(export_bundle(tmp_path / "tuned", tmp_path / "tiny")).info.provenance.notes
    assert "step-00000003.pt, 0 tensors anew" in notes
    assert str(run) not in notes


def test_without_the_average(run: Path, tmp_path: Path) -> None:
    bundle = load_bundle(export_bundle(latest_checkpoint(run), tmp_path / "tiny", average=False))
    expected = load_checkpoint(latest_checkpoint(run)).generator["final.weight"]
    assert torch.equal(bundle_state(bundle.networks)["generator.final.weight"], expected)


def test_a_bundle_that_draws_something_else_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_TOLERANCE", {"fp16": (float("inf"), 0.0)})
    with pytest.raises(TrainingError) as refusal:
        export_bundle(run, tmp_path / "tiny", half=True)
    assert refusal.value.code == "export_differs"
    assert list(tmp_path.iterdir()) == []


def test_networks_that_differ_are_told_apart() -> None:
    model = tiny_model()
    first, second = assemble(model), assemble(model)
    with torch.no_grad():
        second.generator.final.weight.mul_(30)
    with pytest.raises(TrainingError, match="differ"):
        refuse_difference(first, second, model, half=True)


def test_a_few_pixels_may_differ_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sharp edge that moves by a little, as sixteen bits move it, is no other picture; a whole corner is."""
    model = tiny_model()
    frames_BCHW = torch.full((4, 3, 32, 32), 0.5)

    def compare(pixels: int) -> None:
        other_BCHW = frames_BCHW.clone()
        other_BCHW[:, :, :pixels, 0] += 0.3
        drawn = iter((frames_BCHW, other_BCHW))
        monkeypatch.setattr(export, "_draw", lambda *_: next(drawn))
        refuse_difference(assemble(model), assemble(model), model, half=True)

    compare(1)
    with pytest.raises(TrainingError, match="differ"):
        compare(8)


def test_nothing_is_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    with pytest.raises(BundleError) as refusal:
        export_bundle(run, tmp_path / "tiny")
    assert refusal.value.code == "bundle_exists"
    with pytest.raises(TrainingError):
        export_bundle(tmp_path / "tiny", tmp_path / "other")
