"""Read the published configuration files (YAML or JSON with a `model_params` section) into a `ModelConfig`.

Strict inside `model_params`, because a misspelt key there silently builds another network. Tolerant of the rest of
the file (training, data set, visualiser), of which only the frame size and the motion-transfer defaults are read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.config import ModelConfig
from model.errors import ConfigError

# Published name -> our field. What is not listed here is refused.
_COMMON = {"num_kp": "num_keypoints", "num_channels": "num_channels", "estimate_jacobian": "estimate_jacobian"}
_KEYPOINT_DETECTOR = {
    name: name
    for name in (
        "block_expansion",
        "num_blocks",
        "max_features",
        "temperature",
        "scale_factor",
        "single_jacobian_map",
        "pad",
    )
}
_DENSE_MOTION = {name: name for name in ("block_expansion", "num_blocks", "max_features", "scale_factor")} | {
    "kp_variance": "keypoint_variance"
}
_GENERATOR = {
    name: name
    for name in (
        "block_expansion",
        "max_features",
        "num_down_blocks",
        "num_bottleneck_blocks",
        "estimate_occlusion_map",
    )
}
_DISCRIMINATOR = {name: name for name in ("block_expansion", "num_blocks", "max_features", "scales")} | {
    "sn": "spectral_norm",
    "use_kp": "use_keypoints",
    "kp_variance": "keypoint_variance",
}
_TRANSFER = {
    "use_relative_movement": "relative",
    "use_relative_jacobian": "relative_jacobian",
    "adapt_movement_scale": "adapt_scale",
}

_DEFAULT_FRAME_SIZE = 256


def from_published(document: Mapping[str, Any], name: str = "published") -> ModelConfig:
    """Translate a published configuration.

    Args:
        document: the parsed file. `model_params` is required; the frame size is taken from `frame_size`,
            `frame_shape` or `dataset_params.frame_shape`, `align_corners` from the key of that name when present.
        name: the name of the model that results.

    Raises:
        ConfigError: an unknown or missing key inside `model_params`, or a value that is impossible.

    """
    params = _section(document, "model_params", "the file")
    _refuse_unknown(
        params, {"common_params", "kp_detector_params", "generator_params", "discriminator_params"}, "model_params"
    )
    common = _translate(_section(params, "common_params", "model_params"), _COMMON, "common_params")
    return ModelConfig.from_dict(
        {
            "name": name,
            "frame_size": _frame_size(document),
            "align_corners": document.get("align_corners", True),
            **common,
            "keypoint_detector": _translate(
                _section(params, "kp_detector_params", "model_params"), _KEYPOINT_DETECTOR, "kp_detector_params"
            ),
            "generator": _generator(_section(params, "generator_params", "model_params")),
            "discriminator": _discriminator(params.get("discriminator_params"), common),
            "motion_transfer": _motion_transfer(document),
        }
    )


def read_config(path: Path, name: str | None = None) -> ModelConfig:
    """Read a published YAML or JSON file; the model is named after the file unless `name` says otherwise.

    Raises `ConfigError` if the file is absent, is neither YAML nor JSON, or describes no model.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("config_invalid", f"{path.name} cannot be read: {error}.") from None
    if path.suffix == ".json":
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ConfigError("config_invalid", f"{path.name} is not JSON: {error}.") from None
    else:
        import yaml  # not installed where only JSON is read

        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError("config_invalid", f"{path.name} is not YAML: {error}.") from None
    if not isinstance(document, Mapping):
        raise ConfigError("config_invalid", f"{path.name} holds no configuration.")
    return from_published(document, name or path.stem)


def _generator(section: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in section.items() if key != "dense_motion_params"}
    dense_motion = section.get("dense_motion_params")
    if dense_motion is None:
        raise ConfigError(
            "config_missing_key",
            "generator_params has no dense_motion_params: such a generator copies its input and animates nothing.",
        )
    values = _translate(own, _GENERATOR, "generator_params")
    values["dense_motion"] = _translate(dense_motion, _DENSE_MOTION, "dense_motion_params")
    return values


def _discriminator(section: Mapping[str, Any] | None, common: Mapping[str, Any]) -> dict[str, Any] | None:
    if section is None:
        return None
    # Some files repeat the number of keypoints here; it must then be the same number.
    own = {key: value for key, value in section.items() if key != "num_kp"}
    if section.get("num_kp", common.get("num_keypoints")) != common.get("num_keypoints"):
        raise ConfigError("config_invalid", "discriminator_params.num_kp differs from common_params.num_kp.")
    return _translate(own, _DISCRIMINATOR, "discriminator_params")


def _motion_transfer(document: Mapping[str, Any]) -> dict[str, Any]:
    section = document.get("animate_params") or {}
    section = section.get("normalization_params") if isinstance(section, Mapping) else None
    return _translate(section or {}, _TRANSFER, "normalization_params")


def _frame_size(document: Mapping[str, Any]) -> Any:
    if "frame_size" in document:
        return document["frame_size"]
    dataset = document.get("dataset_params")
    shape = document.get("frame_shape", dataset.get("frame_shape") if isinstance(dataset, Mapping) else None)
    if shape is None:
        return _DEFAULT_FRAME_SIZE
    if not isinstance(shape, list | tuple) or len(shape) < 2 or shape[0] != shape[1]:
        raise ConfigError("config_invalid", f"frame_shape must be square, not {shape!r}.")
    return shape[0]


def _section(values: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    section = values.get(key)
    if not isinstance(section, Mapping):
        raise ConfigError("config_missing_key", f"{where} has no section {key}.")
    return section


def _translate(section: Any, names: Mapping[str, str], where: str) -> dict[str, Any]:
    if not isinstance(section, Mapping):
        raise ConfigError("config_invalid", f"{where} must be a mapping, not {type(section).__name__}.")
    _refuse_unknown(section, set(names), where)
    return {names[key]: value for key, value in section.items()}


def _refuse_unknown(section: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(map(str, set(section) - known))
    if unknown:
        raise ConfigError("config_unknown_key", f"{where} has unknown keys: {', '.join(unknown)}.")
