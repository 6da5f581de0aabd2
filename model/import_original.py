"""Import a published checkpoint (`.pth.tar`) as a bundle. The only door through which old pickles enter serving.

A published checkpoint is a dictionary of state dictionaries (`generator`, `kp_detector`, and training's own), in
either of torch's serializations. It is read with `weights_only=True`: a file that wants to run code is refused unrun.
"""

import pickle
import struct
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.bundle import COUNTER, bundle_state, compare_states, save_bundle
from model.bundle_index import Provenance, sha256_of
from model.config import PRESETS, ModelConfig
from model.errors import CheckpointError
from model.networks.assembly import Networks, assemble

# Published section -> our network.
_SECTIONS = {"kp_detector": "keypoint_detector", "generator": "generator"}
_WRAPPER = "module."
_LFS_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
# A pickle of protocol 2 or later, and how the pickles of torch before 1.6 go on: with their magic number.
_PICKLE = b"\x80"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_HEAD_BYTES = 512
# How torch words the refusal of a function, class or object state that is not on its list.
_SIGNS_OF_CODE = ("Unsupported global", "Unsupported class", "Trying to ")
_LARGEST_HALF = torch.finfo(torch.float16).max


def import_checkpoint(
    path: Path, config: ModelConfig, out_dir: Path, half: bool = False, *, licence: str = "", notes: str = ""
) -> Path:
    """Write the checkpoint at `path` as a bundle and return the bundle's directory.

    Args:
        path: a published `.pth.tar`.
        config: the model it belongs to: a preset, or `published_config.read_config` of its YAML file.
        out_dir: the bundle to make; it must not exist.
        half: store convolutions as float16.
        licence: under what terms the weights are; recorded.
        notes: anything else worth recording.

    Raises:
        CheckpointError: the file is not what it should be; see the codes in `model.errors`.
        BundleError: `out_dir` exists (`bundle_exists`).

    """
    sections = read_checkpoint(path)
    networks = assemble(config)
    state = _renamed(sections, path)
    differences = compare_states(bundle_state(networks), state)
    if differences:
        raise CheckpointError(
            "checkpoint_mismatch", f"{path.name} does not fit {config.name}: {differences}.", _fitting_hint(state)
        )
    _refuse_bad_numbers(state, path, half=half)
    for prefix, network in zip(Networks._fields, networks, strict=True):
        own = {key.removeprefix(f"{prefix}."): value for key, value in state.items() if key.startswith(f"{prefix}.")}
        network.load_state_dict(own, strict=False)  # compared above; only counters are absent
    provenance = Provenance(
        source_file=path.name,
        source_sha256=sha256_of(path),
        licence=licence,
        notes=notes,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return save_bundle(out_dir, networks, config, provenance, half=half)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the unpickled checkpoint, without running anything in it.

    Raises `CheckpointError`: not found, a Git LFS pointer, a web page, truncated, unsafe, or no checkpoint at all.
    """
    head = _read_head(path)
    try:
        with warnings.catch_warnings():
            # An unusual pickle protocol is only a warning to torch, followed by success or by one of the errors below.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unpickling_error(path, head, error) from error
    except (RuntimeError, EOFError, struct.error, ValueError, LookupError, OSError) as error:
        raise _damaged(path, head) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            "checkpoint_not_a_checkpoint", f"{path.name} holds a {type(content).__name__}, not a checkpoint."
        )
    return content


def _read_head(path: Path) -> bytes:
    """Read the first bytes, and recognise what people get when a download went wrong."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise CheckpointError("checkpoint_not_found", f"There is no file {path}.") from None
    except OSError as error:
        raise CheckpointError("checkpoint_not_a_checkpoint", f"{path.name} cannot be read: {error}.") from error
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise CheckpointError("checkpoint_truncated", f"{path.name} is empty.", "Download it again.")
    if head.startswith(_LFS_POINTER):
        raise CheckpointError(
            "checkpoint_lfs_pointer", f"{path.name} is a Git LFS pointer, not the file itself.", "Run: git lfs pull"
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        raise CheckpointError(
            "checkpoint_is_html",
            f"{path.name} is a web page, not a checkpoint: the site answered with a login, quota or error page.",
            "Open the download link in a browser.",
        )
    return head


def _unpickling_error(path: Path, head: bytes, error: Exception) -> CheckpointError:
    """Tell a pickle that names a forbidden function from one whose bytes make no sense."""
    text = str(error)
    foreign = head.startswith(_PICKLE) and not _LEGACY.startswith(head[: len(_LEGACY)])
    if foreign or any(sign in text for sign in _SIGNS_OF_CODE):
        return CheckpointError(
            "checkpoint_unsafe_pickle",
            f"{path.name} asks to run code or to build objects while it is loaded. It was refused; nothing was run.",
            "A checkpoint holds tensors and plain numbers only. Do not trust this file.",
        )
    return _damaged(path, head)


def _damaged(path: Path, head: bytes) -> CheckpointError:
    if head.startswith((_ZIP, _PICKLE)):
        return CheckpointError(
            "checkpoint_truncated", f"{path.name} ends too early or is damaged.", "Download it again."
        )
    return CheckpointError("checkpoint_not_a_checkpoint", f"{path.name} is not a torch checkpoint.")


def _renamed(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the state of both networks under the keys of a bundle."""
    state: dict[str, Tensor] = {}
    for section, network in _SECTIONS.items():
        values = content.get(section)
        if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
            raise CheckpointError(
                "checkpoint_incomplete",
                f"{path.name} has no {section}; it has: {', '.join(map(str, content)) or 'nothing'}.",
                "A checkpoint for animation needs generator and kp_detector.",
            )
        for key, value in values.items():
            # Saved from DataParallel every key is prefixed. Counters are absent in old files, and useless here.
            if not str(key).endswith(COUNTER):
                state[f"{network}.{str(key).removeprefix(_WRAPPER)}"] = value
    return state


def _refuse_bad_numbers(state: dict[str, Tensor], path: Path, *, half: bool) -> None:
    limit = _LARGEST_HALF if half else float("inf")
    bad = [key for key, value in state.items() if not torch.isfinite(value).all() or value.abs().max() > limit]
    if bad:
        raise CheckpointError(
            "checkpoint_not_finite",
            f"{path.name} holds numbers that are not finite{' in half precision' if half else ''}: {bad[0]}"
            + (f" and {len(bad) - 1} more." if len(bad) > 1 else "."),
        )


def _fitting_hint(state: dict[str, Tensor]) -> str:
    """Name the presets that these weights would fit. Shapes only, so nothing is allocated."""
    fitting = []
    for name, preset in PRESETS.items():
        with torch.device("meta"):
            expected = bundle_state(assemble(preset()))
        if not compare_states(expected, state):
            fitting.append(name)
    return f"It fits: {', '.join(fitting)}." if fitting else "It fits none of the presets: give its own configuration."
