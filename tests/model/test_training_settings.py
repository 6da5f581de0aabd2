"""Training settings: published numbers, round trips, schedules."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from model.errors import ConfigError
from model.training.errors import TrainingError
from model.training.presets import PRESETS, at_size
from model.training.settings import (
    TrainConfig,
    learning_rate_factor,
    require_schedule,
    resumable_difference,
)
from tests.model.training_runs import GOLDEN, tiny_run

PUBLISHED = json.loads((GOLDEN / "published-configs.json").read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_are_the_published_schedules(name: str) -> None:
    published, ours = PUBLISHED[name]["train_params"], PRESETS[name]()
    assert ours.epochs is not None
    assert ours.epochs.num_epochs == published["num_epochs"]
    assert ours.epochs.num_repeats == published["num_repeats"]
    assert list(ours.epochs.milestones) == published["epoch_milestones"]
    assert ours.batch_size == published["batch_size"]
    for key in ("lr_generator", "lr_discriminator"):
        assert getattr(ours, key) == published[key]
    assert ours.lr_keypoint_detector == published["lr_kp_detector"]
    assert list(ours.perceptual.scales) == published["scales"]
    warp = published["transform_params"]
    assert (ours.warp.sigma_affine, ours.warp.sigma_bumps, ours.warp.points_per_side) == (
        warp["sigma_affine"],
        warp["sigma_tps"],
        warp["points_tps"],
    )
    for key, value in published["loss_weights"].items():
        actual = getattr(ours.losses, key)
        assert (list(actual) if isinstance(actual, tuple) else actual) == value, key


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip(name: str) -> None:
    config = PRESETS[name]()
    assert config.name == name
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_without_generator_gan_there_is_no_discriminator() -> None:
    assert not PRESETS["vox-256"]().uses_discriminator
    assert PRESETS["vox-adv-256"]().uses_discriminator
    assert not PRESETS["taichi-adv-256"]().trains_keypoints


def test_epochs_become_steps() -> None:
    config = PRESETS["vox-256"]()
    with pytest.raises(TrainingError) as refusal:
        require_schedule(config)
    assert refusal.value.code == "schedule_incomplete"
    known = config.with_clips(3000)
    per_epoch = 3000 * 75 // 40
    assert known.num_steps == 100 * per_epoch
    assert known.milestones == (60 * per_epoch, 90 * per_epoch)
    assert known.with_clips(1) == known
    require_schedule(known)


def test_learning_rate_falls_at_milestones() -> None:
    config = tiny_run(num_steps=30, milestones=(10, 20), warmup_steps=2)
    factors = [learning_rate_factor(config, step) for step in (0, 1, 9, 10, 19, 20)]
    assert factors == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01])


def test_cosine_ends_low() -> None:
    config = tiny_run(num_steps=100, decay="cosine")
    assert learning_rate_factor(config, 0) == pytest.approx(1)
    assert learning_rate_factor(config, 50) == pytest.approx(0.51)
    assert learning_rate_factor(config, 100) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"surprise": 1}, "config_unknown_key"),
        ({"batch_size": "many"}, "config_invalid"),
        ({"batch_size": 0}, "config_invalid"),
        ({"precision": "fp8"}, "config_invalid"),
        ({"ema_decay": 1.0}, "config_invalid"),
        ({"keypoint_dropout": 1.0}, "config_invalid"),
        ({"expression_pairs": 1.1}, "config_invalid"),
        ({"close_ups": -0.1}, "config_invalid"),
        ({"seed": -1}, "config_invalid"),
        ({"seed": 1 << 32}, "config_invalid"),
        ({"losses": {"perceptual": [1.0]}}, "config_invalid"),
        ({"losses": {"generator_gan": 1.0, "feature_matching": [1.0]}}, "config_invalid"),
        ({"losses": {}, "perceptual": {"scales": []}}, "config_invalid"),
        ({"losses": {"percptual": [1]}}, "config_unknown_key"),
        ({"perceptual": {"backbone": "alexnet"}}, "config_invalid"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], code: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        TrainConfig.from_dict(tiny_run().to_dict() | change)
    assert refusal.value.code == code


def test_a_missing_key_is_named() -> None:
    values = tiny_run().to_dict()
    del values["batch_size"]
    with pytest.raises(ConfigError, match="batch_size"):
        TrainConfig.from_dict(values)


def test_an_adversary_needs_a_discriminator() -> None:
    model = replace(tiny_run().model, discriminator=None)
    with pytest.raises(ConfigError, match="discriminator"):
        tiny_run(model=model, losses=replace(tiny_run().losses, generator_gan=1.0))


def test_what_may_change_on_resuming() -> None:
    config = tiny_run()
    assert resumable_difference(config, replace(config, num_steps=99, log_every=1, num_workers=2)) == ""
    assert resumable_difference(config, replace(config, seed=1)) == "seed"
    assert resumable_difference(config, replace(config, losses=replace(config.losses, l1=1.0))) == "losses"


@pytest.mark.parametrize("size", [64, 128, 256])
def test_at_another_size_motion_sees_the_same_pixels(size: int) -> None:
    config = at_size(PRESETS["avatars-128"](), size)
    assert config.model.frame_size == size
    assert config.model.keypoint_detector.scale_factor * size == 64
    assert config.model.generator.dense_motion.scale_factor * size == 64


def test_small_frames_drop_small_scales() -> None:
    assert at_size(PRESETS["vox-256"](), 64).perceptual.scales == (1.0, 0.5, 0.25)
