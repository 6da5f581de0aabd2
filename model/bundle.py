"""Write a bundle, and load one. What a bundle is, is told in `model.bundle_index`.

`weights.safetensors` holds the state of both networks under their published keys, prefixed with `keypoint_detector.`
and `generator.`. With `half=True` convolution weights and biases are float16; norms and blur kernels stay float32, for
they are tiny in size and not in value. Counters of training batches are left out.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.bundle_index import (
    CONFIG_FILE,
    SUMS_FILE,
    WEIGHTS_FILE,
    BundleInfo,
    Provenance,
    config_document,
    describe,
    sha256_of,
    verify,
)
from model.config import ModelConfig
from model.errors import BundleError
from model.networks.assembly import Networks, assemble

COUNTER = "num_batches_tracked"
_NUM_SHOWN = 8


class Bundle(NamedTuple):
    """A loaded model: its networks in float32, in memory, in `eval()`, and what the bundle says of itself."""

    info: BundleInfo
    networks: Networks

    @property
    def config(self) -> ModelConfig:
        """Return the model's configuration."""
        return self.info.config


def load_bundle(directory: Path) -> Bundle:
    """Verify the bundle's hashes, then build its networks and fill them.

    Raises `BundleError` with code `bundle_not_found`, `bundle_damaged`, `bundle_version_unsupported` or
    `bundle_mismatch` (weights that do not belong to the configuration).
    """
    info = describe(directory)
    verify(directory)
    try:
        state = load_file(directory / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise BundleError("bundle_damaged", f"{info.name}/{WEIGHTS_FILE} cannot be read: {error}") from error
    networks = assemble(info.config)
    differences = compare_states(bundle_state(networks), state)
    if differences:
        raise BundleError("bundle_mismatch", f"{info.name}: the weights do not fit its configuration: {differences}")
    for prefix, network in zip(Networks._fields, networks, strict=True):
        own = {key.removeprefix(f"{prefix}."): value for key, value in state.items() if key.startswith(f"{prefix}.")}
        network.load_state_dict(own, strict=False)  # compared above; only counters are absent
        network.requires_grad_(False)
    return Bundle(info, networks)


def save_bundle(
    directory: Path, networks: Networks, config: ModelConfig, provenance: Provenance, *, half: bool = False
) -> Path:
    """Write a bundle and return its directory, which appears complete or not at all.

    Raises `BundleError` with code `bundle_exists` if there is something at `directory` already.
    """
    if directory.exists():
        raise BundleError("bundle_exists", f"{directory.name} exists already.", "Choose another name, or remove it.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside its goal, so that the rename stays within one file system.
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        staging.chmod(0o755)  # mkdtemp makes it private; a bundle is for whoever may read its parent
        save_file(_stored(networks, half=half), staging / WEIGHTS_FILE)
        document = config_document(
            config, provenance, dtype="fp16" if half else "fp32", num_parameters=networks.num_parameters
        )
        (staging / CONFIG_FILE).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        sums = "".join(f"{sha256_of(staging / name)}  {name}\n" for name in (CONFIG_FILE, WEIGHTS_FILE))
        (staging / SUMS_FILE).write_text(sums, encoding="ascii")
        for name in (CONFIG_FILE, WEIGHTS_FILE, SUMS_FILE):
            (staging / name).chmod(0o644)
            _flush_to_disk(staging / name)
        staging.rename(directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return directory


def bundle_state(networks: Networks) -> dict[str, Tensor]:
    """Return the tensors of both networks under the keys that a bundle has. They are shared, not copied."""
    return {
        f"{prefix}.{key}": value
        for prefix, network in zip(Networks._fields, networks, strict=True)
        for key, value in network.state_dict().items()
        if not key.endswith(COUNTER)
    }


def compare_states(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> str:
    """Say how `actual` differs from `expected` in keys and shapes: empty if it does not."""
    missing = [key for key in expected if key not in actual]
    unexpected = [key for key in actual if key not in expected]
    reshaped = [
        f"{key} is {list(actual[key].shape)}, not {list(value.shape)}"
        for key, value in expected.items()
        if key in actual and actual[key].shape != value.shape
    ]
    labelled = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return "; ".join(f"{len(keys)} {label}: {_shown(keys)}" for label, keys in labelled.items() if keys)


def _shown(keys: list[str]) -> str:
    rest = f", and {len(keys) - _NUM_SHOWN} more" if len(keys) > _NUM_SHOWN else ""
    return ", ".join(keys[:_NUM_SHOWN]) + rest


def _stored(networks: Networks, *, half: bool) -> dict[str, Tensor]:
    state = {key: value.detach().cpu().contiguous() for key, value in bundle_state(networks).items()}
    if half:
        for prefix, network in zip(Networks._fields, networks, strict=True):
            for name, module in network.named_modules():
                if isinstance(module, nn.Conv2d):
                    for key in (f"{prefix}.{name}.weight", f"{prefix}.{name}.bias"):
                        state[key] = state[key].to(torch.float16)
    return state


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
