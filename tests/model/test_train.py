"""The training loop: it learns, it resumes exactly, it stops when it should, it starts from what exists."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.bundle import COUNTER
from model.errors import ModelError
from model.training.checkpoint import latest_checkpoint, load_checkpoint
from model.training.errors import TrainingError, TrainingInterrupted, TrainingStopped
from model.training.objective import Objective, dropped_of_step, warp_of_step
from model.training.run_folder import prepare_run, read_run
from model.training.settings import LossWeights
from model.training.train import Progress, run_training
from tests.model.training_runs import GOLDEN, PoisonedBlobs, ShiftedBlobs, one_thread, tiny_model, tiny_run

ADVERSARIAL = LossWeights(perceptual=(), l1=10.0, generator_gan=1.0, feature_matching=(10.0, 10.0))


__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_state(first: object, second: object, where: str = "") -> None:
    if isinstance(first, torch.Tensor):
        assert isinstance(second, torch.Tensor)
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys()
        for key in first:
            if str(key).endswith(COUNTER):  # kept by torch, used by nobody
                continue
            assert_same_state(first[key], second[key], f"{where}.{key}")
    else:
        assert first == second, where


def test_a_few_steps_lower_the_loss(tmp_path: Path) -> None:
    config = tiny_run(num_steps=12, log_every=1)
    seen: list[Progress] = []
    path = run_training(config, ShiftedBlobs(), tmp_path / "run", on_progress=seen.append)
    assert path == tmp_path / "run/checkpoints/step-00000012.pt"
    totals = [row["total"] for row in rows(tmp_path / "run")]
    assert len(totals) == 12
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])
    assert [progress.step for progress in seen] == list(range(1, 13))
    assert seen[-1].remaining_s == 0
    assert seen[-1].losses.keys() == {"equivariance_value", "equivariance_jacobian", "l1", "total"}
    assert [p.name for p in sorted((tmp_path / "run/samples").iterdir())] == [
        f"step-{step:08d}.png" for step in (3, 6, 9, 12)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": ADVERSARIAL, "ema_decay": 0.9, "num_workers": 1},
        {"precision": "bf16", "channels_last": True, "max_gradient_norm": 1.0, "warmup_steps": 3, "decay": "cosine"},
        {"keypoint_dropout": 0.5, "losses": LossWeights(perceptual=(0.0,), l1=1.0, keypoint_prior=1.0)},
    ],
    ids=["adversarial", "bf16", "dropout"],
)
def test_a_resumed_run_equals_an_uncut_one(tmp_path: Path, changes: dict[str, object]) -> None:
    config = tiny_run(**changes)
    whole = load_checkpoint(run_training(config, ShiftedBlobs(), tmp_path / "whole"))

    # Cut by a signal in the fourth step, after the checkpoint of the third.
    def interrupt(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted) as stop:
        run_training(config, ShiftedBlobs(), tmp_path / "cut", on_progress=interrupt)
    assert stop.value.code == "interrupted"
    assert latest_checkpoint(tmp_path / "cut").name == "step-00000004.pt"
    torch.manual_seed(99)  # whatever the process did meanwhile
    resumed = load_checkpoint(run_training(config, ShiftedBlobs(), tmp_path / "cut", resume=True))

    for part in ("step", "kp_detector", "generator", "discriminator", "optimizers", "ema", "random_state"):
        assert_same_state(getattr(whole, part), getattr(resumed, part), part)
    assert rows(tmp_path / "whole")[-1]["total"] == rows(tmp_path / "cut")[-1]["total"]


def test_what_should_be_drawn_may_differ_from_the_driving_frame() -> None:
    weights = LossWeights(perceptual=(), equivariance_value=0, equivariance_jacobian=0, l1=2.0, l1_to_copy=3.0)
    config = tiny_run(losses=weights)
    objective = Objective(config)
    (source, driving, _), truth = ShiftedBlobs().batch(0), ShiftedBlobs().batch(1).driving_BCHW
    warp = warp_of_step(config, 0, 4, torch.device("cpu"))
    drawing = objective(source, driving, warp, None, truth)
    distance_B = (drawing.prediction_BCHW - truth).abs().mean(dim=(1, 2, 3))
    copied_B = (source - truth).abs().mean(dim=(1, 2, 3))
    assert drawing.terms.l1.item() == pytest.approx(2 * distance_B.mean().item(), rel=1e-5)
    assert drawing.terms.l1_to_copy.item() == pytest.approx(
        3 * (distance_B / (copied_B + 0.01)).mean().item(), rel=1e-5
    )
    assert objective(source, driving, warp).terms.l1.item() != drawing.terms.l1.item()


def test_keypoints_are_dropped_anew_in_every_step_and_alike_in_every_run() -> None:
    config = tiny_run(keypoint_dropout=0.3)
    draws = [dropped_of_step(config, step, 500, torch.device("cpu")) for step in (0, 1, 0)]
    first, second, again = (draw for draw in draws if draw is not None)
    assert first.shape == (500, config.model.num_keypoints)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert first.float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert dropped_of_step(tiny_run(), 0, 500, torch.device("cpu")) is None


def test_the_adversary_learns_only_where_it_is_asked_for(tmp_path: Path) -> None:
    config = tiny_run(num_steps=3)
    without = load_checkpoint(run_training(config, ShiftedBlobs(), tmp_path / "without"))
    assert without.discriminator is None
    assert without.optimizers.keys() == {"keypoint_detector", "generator"}
    with_one = load_checkpoint(run_training(replace(config, losses=ADVERSARIAL), ShiftedBlobs(), tmp_path / "with"))
    assert with_one.discriminator is not None
    assert {"generator_gan", "feature_matching", "discriminator_gan"} <= rows(tmp_path / "with")[-1].keys()
    # Spectral norm keeps its unit vectors in buffers; the weights themselves must have moved.
    moments = with_one.optimizers["discriminator"]["state"]
    assert any(state["exp_avg"].abs().sum() > 0 for state in moments.values())


def test_a_frozen_keypoint_detector_does_not_move(tmp_path: Path) -> None:
    first = run_training(tiny_run(num_steps=2), ShiftedBlobs(), tmp_path / "first")
    config = tiny_run(num_steps=3, lr_keypoint_detector=0.0)
    second = run_training(config, ShiftedBlobs(), tmp_path / "second", init_from=first)
    before, after = load_checkpoint(first), load_checkpoint(second)
    assert_same_state(before.kp_detector, after.kp_detector)
    assert not torch.equal(before.generator["final.weight"], after.generator["final.weight"])
    assert "equivariance_value" not in rows(tmp_path / "second")[-1]


def test_perceptual_loss_takes_part(tmp_path: Path) -> None:
    config = tiny_run(num_steps=2, losses=LossWeights(perceptual=(10.0,) * 5))
    path = run_training(config, ShiftedBlobs(), tmp_path / "run")
    assert rows(tmp_path / "run")[-1]["perceptual"] > 0
    assert load_checkpoint(path).facts["backbone"].startswith("efficientnet-lite0-57934424.pth 57934424")


def test_nan_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped) as stop:
        run_training(tiny_run(num_steps=9), PoisonedBlobs(first_bad=4), tmp_path / "run")
    assert stop.value.code == "loss_not_finite"
    assert "step 6" in stop.value.detail
    last = latest_checkpoint(tmp_path / "run")
    assert last.name == "step-00000003.pt"
    assert all(torch.isfinite(value).all() for value in load_checkpoint(last).generator.values())


def test_a_run_is_not_overwritten_and_not_mixed_up(tmp_path: Path) -> None:
    config = tiny_run(num_steps=1)
    with pytest.raises(TrainingError) as refusal:
        run_training(config, ShiftedBlobs(), tmp_path, resume=True)
    assert refusal.value.code == "run_not_found"
    run_training(config, ShiftedBlobs(), tmp_path)
    with pytest.raises(TrainingError) as refusal:
        run_training(config, ShiftedBlobs(), tmp_path)
    assert refusal.value.code == "run_exists"
    with pytest.raises(TrainingError) as refusal:
        run_training(replace(config, seed=1), ShiftedBlobs(), tmp_path, resume=True)
    assert refusal.value.code == "run_mismatch"
    assert "seed" in refusal.value.detail


def test_a_run_whose_configuration_was_edited_is_not_resumed(tmp_path: Path) -> None:
    config = tiny_run(num_steps=1)
    run_training(config, ShiftedBlobs(), tmp_path)
    edited = replace(config, num_steps=2, lr_generator=0.5)
    (tmp_path / "run.json").write_text(json.dumps(edited.to_dict()))
    with pytest.raises(TrainingError, match="differs in lr_generator") as refusal:
        run_training(edited, ShiftedBlobs(), tmp_path, resume=True)
    assert refusal.value.code == "run_mismatch"


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    run_training(tiny_run(num_steps=2), ShiftedBlobs(), tmp_path)
    path = run_training(tiny_run(num_steps=4), ShiftedBlobs(), tmp_path, resume=True)
    assert load_checkpoint(path).step == 4
    assert run_training(tiny_run(num_steps=4), ShiftedBlobs(), tmp_path, resume=True) == path


def test_a_dry_run_writes_the_configuration_only(tmp_path: Path) -> None:
    config = tiny_run()
    assert prepare_run(config, tmp_path / "run") == tmp_path / "run/run.json"
    assert read_run(tmp_path / "run") == config
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_data_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as refusal:
        run_training(tiny_run(), ShiftedBlobs(size=64), tmp_path)
    assert refusal.value.code == "batch_mismatch"


def test_fine_tuning_from_a_published_checkpoint(tmp_path: Path) -> None:
    from model.published_config import read_config

    model = read_config(GOLDEN / "jacobian.json")
    config = tiny_run(
        model=model,
        batch_size=2,
        num_steps=2,
        losses=LossWeights(perceptual=(), l1=10.0, generator_gan=1.0, feature_matching=(10.0,) * 3),
        lr_generator=1e-6,
    )
    path = run_training(config, ShiftedBlobs(2, 64), tmp_path / "run", init_from=GOLDEN / "jacobian-cpk.pth.tar")
    tuned = load_checkpoint(path)
    published = torch.load(GOLDEN / "jacobian-cpk.pth.tar", weights_only=True)
    torch.testing.assert_close(
        tuned.generator["final.weight"], published["generator"]["final.weight"], atol=1e-4, rtol=0
    )
    assert tuned.facts["initialized"]["fresh"] == ()


def test_without_tensorboard_the_metrics_are_still_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    run_training(tiny_run(num_steps=1), ShiftedBlobs(), tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 1
    assert "animato[train]" in caplog.text
    assert not (tmp_path / "run/tensorboard").exists()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    first = run_training(tiny_run(num_steps=1), ShiftedBlobs(), tmp_path / "first")
    other = tiny_run(model=tiny_model(num_keypoints=4))
    with pytest.raises(ModelError, match="do not fit"):
        run_training(other, ShiftedBlobs(), tmp_path / "second", init_from=first)
