import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from model.config import PRESETS, ModelConfig, avatars_128, vox_256
from model.errors import CheckpointError, ConfigError, ModelError
from model.published_config import from_published, read_config

GOLDEN = Path(__file__).parents[1] / "golden"
PUBLISHED: dict[str, Any] = json.loads((GOLDEN / "published-configs.json").read_text())


def published_document(name: str) -> dict[str, Any]:
    """The shape of a published YAML file, from the recorded numbers."""
    entry = copy.deepcopy(PUBLISHED[name])
    return {
        "dataset_params": {"frame_shape": entry["frame_shape"], "augmentation_params": entry["augmentation"]},
        "model_params": entry["model_params"],
        "train_params": entry["train_params"],
        "animate_params": {"num_pairs": 50, "normalization_params": entry["animate"]},
        "visualizer_params": {"kp_size": 5},
    }


def test_all_published_models_have_a_preset() -> None:
    assert set(PRESETS) == set(PUBLISHED) | {"avatars-128"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_numbers(name: str) -> None:
    assert PRESETS[name]() == from_published(published_document(name), name)


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip_through_json(name: str) -> None:
    config = PRESETS[name]()
    assert config.name == name
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_published_weights_were_trained_with_aligned_corners() -> None:
    assert all(preset().align_corners for preset in PRESETS.values())


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        vox_256().frame_size = 128  # type: ignore[misc]


def change(path: str, value: Any) -> dict[str, Any]:
    """avatars-128 as a dictionary with one value changed, or removed when it is `...`."""
    values: dict[str, Any] = avatars_128().to_dict()
    *parents, last = path.split(".")
    section = values
    for parent in parents:
        section = section[parent]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("colour", 1, "config_unknown_key"),
        ("generator.dense_motion.colour", 1, "config_unknown_key"),
        ("motion_transfer.colour", 1, "config_unknown_key"),
        ("name", ..., "config_missing_key"),
        ("keypoint_detector.temperature", ..., "config_missing_key"),
        ("generator.dense_motion", ..., "config_missing_key"),
        ("generator", [], "config_invalid"),
        ("generator", None, "config_invalid"),
        ("frame_size", "128", "config_invalid"),
        ("frame_size", True, "config_invalid"),
        ("frame_size", 128.0, "config_invalid"),
        ("frame_size", 0, "config_invalid"),
        ("frame_size", 100, "config_invalid"),
        ("align_corners", 1, "config_invalid"),
        ("keypoint_detector.temperature", 0, "config_invalid"),
        ("keypoint_detector.temperature", float("nan"), "config_invalid"),
        ("keypoint_detector.pad", -1, "config_invalid"),
        ("discriminator", {"block_expansion": 1, "num_blocks": 1, "max_features": 1, "scales": []}, "config_invalid"),
    ],
)
def test_what_cannot_be_is_refused(path: str, value: Any, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(change(path, value))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "section", ["common_params", "kp_detector_params", "generator_params", "discriminator_params", None]
)
def test_unknown_keys_in_published_model_params_are_refused(section: str | None) -> None:
    document = published_document("vox-256")
    target = document["model_params"] if section is None else document["model_params"][section]
    target["temprature"] = 1
    with pytest.raises(ConfigError, match="temprature") as caught:
        from_published(document)
    assert caught.value.code == "config_unknown_key"


def test_published_generator_without_motion_is_refused() -> None:
    document = published_document("vox-256")
    del document["model_params"]["generator_params"]["dense_motion_params"]
    with pytest.raises(ConfigError, match="animates nothing"):
        from_published(document)


@pytest.mark.parametrize("content", [{}, {"model_params": 3}, {"model_params": {"common_params": {}}}])
def test_published_file_without_a_model(content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_published(content)
    assert caught.value.code == "config_missing_key"


def test_published_discriminator_must_agree_on_keypoints() -> None:
    document = published_document("vox-256")
    document["model_params"]["discriminator_params"]["num_kp"] = 10
    assert from_published(document, "vox-256") == vox_256()
    document["model_params"]["discriminator_params"]["num_kp"] = 11
    with pytest.raises(ConfigError, match="num_kp"):
        from_published(document)


def test_published_file_may_say_size_corners_and_motion() -> None:
    document = published_document("vox-256") | {"frame_size": 512, "align_corners": False}
    document["animate_params"]["normalization_params"]["adapt_movement_scale"] = True
    config = from_published(document)
    assert (config.frame_size, config.align_corners, config.motion_transfer.adapt_scale) == (512, False, True)
    del document["frame_size"]
    document["dataset_params"]["frame_shape"] = [256, 128, 3]
    with pytest.raises(ConfigError, match="square"):
        from_published(document)


def test_yaml_and_json_files(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    (tmp_path / "vox-256.yaml").write_text(yaml.safe_dump(published_document("vox-256")))
    (tmp_path / "vox-256.json").write_text(json.dumps(published_document("vox-256")))
    assert read_config(tmp_path / "vox-256.yaml") == read_config(tmp_path / "vox-256.json") == vox_256()
    assert read_config(tmp_path / "vox-256.json", "mine").name == "mine"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", "a: ["), ("a.json", "{"), ("a.yaml", "just text"), ("a.yaml", "!!python/name:os.system"), ("b", None)],
)
def test_files_that_are_no_configuration(name: str, text: str | None, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / name)
    assert caught.value.code == "config_invalid"


def test_errors_survive_pickling_and_read_well() -> None:
    error = CheckpointError("checkpoint_truncated", "It is short.", "Download it again.")
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), copied.code, copied.detail, copied.hint) == (
        CheckpointError,
        "checkpoint_truncated",
        "It is short.",
        "Download it again.",
    )
    assert str(copied) == "It is short. Download it again."
    assert str(ModelError("x", "Only this.")) == "Only this."
