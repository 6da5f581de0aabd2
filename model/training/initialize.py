"""Start from weights that exist: a bundle, a run or checkpoint of ours, a published checkpoint; also at another size.

The networks are convolutional, so weights do not depend on the frame's size. What does, and how it is carried over:

    blur kernels (`down.weight`)          follow from the scale factor: the new model's own are kept
    keypoint detector, dense motion       must fit entirely; give the new model the scale factors at which they see the
                                          same number of pixels (`presets.at_size` does)
    generator, as many down blocks        must fit entirely
    generator, n more down blocks         down block i becomes down block i + n, up block i stays up block i (both count
                                          from the inside then), the bottleneck stays; the n outer blocks on either side
                                          and the first and last convolution start anew unless their shapes fit
"""

import re
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from model.bundle import COUNTER, bundle_state, compare_states, load_bundle
from model.bundle_index import CONFIG_FILE
from model.import_original import read_checkpoint
from model.networks.assembly import Networks
from model.training.checkpoint import latest_checkpoint
from model.training.errors import TrainingError

_SECTIONS = {"kp_detector": "keypoint_detector", "generator": "generator"}
_BLUR = ".down.weight"
_DOWN_BLOCK = re.compile(r"generator\.down_blocks\.(\d+)\.(.+)")
_MOTION = "generator.dense_motion_network."


class Initialization(NamedTuple):
    """What was taken over: recorded with the run."""

    source: str
    num_taken: int
    fresh: tuple[str, ...]
    """Tensors that start anew."""


def initialize_networks(networks: Networks, source: Path) -> Initialization:
    """Fill the networks, in place, from `source`. See above for what happens between sizes.

    Raises `TrainingError` with code `initial_weights_mismatch`, and the errors of reading bundles and checkpoints.
    """
    old, new = read_weights(source), bundle_state(networks)
    taken = _mapped(old, new)
    fresh = [key for key in new if key not in taken and not key.endswith(_BLUR)]
    growing = _num_down_blocks(new) > _num_down_blocks(old)
    unused = [key for key in old if key not in new and not key.endswith(_BLUR)]
    # Where the generator grows, its drawing part may be new in places; nothing else may, and nothing is left behind.
    foreign = [key for key in (*fresh, *unused) if not growing or not _is_drawing(key)]
    if foreign or not taken:
        raise TrainingError(
            "initial_weights_mismatch",
            f"The weights of {source.name} do not fit these networks: {compare_states(new, old)}.",
            "Both models must have the same keypoints, widths and depths; only the generator may gain outer blocks.",
        )
    for key, value in taken.items():
        new[key].copy_(value)
    return Initialization(str(source), len(taken), tuple(fresh))


def initialize_discriminator(discriminator_state: dict[str, Tensor], source: Path) -> bool:
    """Fill a discriminator's state, in place, if `source` has one that fits; return whether it had."""
    if source.is_dir() and (source / CONFIG_FILE).exists():
        return False
    section = read_checkpoint(latest_checkpoint(source)).get("discriminator")
    if not isinstance(section, dict) or compare_states(discriminator_state, section):
        return False
    for key, value in section.items():
        discriminator_state[key].copy_(value)
    return True


def read_weights(source: Path) -> dict[str, Tensor]:
    """Return the weights of both networks under the keys of a bundle; a run's moving average if it has one."""
    if source.is_dir() and (source / CONFIG_FILE).exists():
        return bundle_state(load_bundle(source).networks)
    content = read_checkpoint(latest_checkpoint(source))
    ema = content.get("ema")
    sections = ema if isinstance(ema, dict) else content
    state: dict[str, Tensor] = {}
    for section, network in _SECTIONS.items():
        values = sections.get(section)
        if not isinstance(values, dict):
            raise TrainingError("initial_weights_mismatch", f"{source.name} has no {section}.")
        for key, value in values.items():
            if not key.endswith(COUNTER):
                state[f"{network}.{key.removeprefix('module.')}"] = value
    return state


def _mapped(old: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return, for each key of the new state that has a counterpart of its shape, that counterpart."""
    grown = _num_down_blocks(new) - _num_down_blocks(old)
    taken = {}
    for key, value in new.items():
        match = _DOWN_BLOCK.fullmatch(key)
        counterpart = f"generator.down_blocks.{int(match[1]) - grown}.{match[2]}" if match else key
        if not key.endswith(_BLUR) and counterpart in old and old[counterpart].shape == value.shape:
            taken[key] = old[counterpart]
    return taken


def _is_drawing(key: str) -> bool:
    return key.startswith("generator.") and not key.startswith(_MOTION)


def _num_down_blocks(state: dict[str, Tensor]) -> int:
    return len({match[1] for match in map(_DOWN_BLOCK.fullmatch, state) if match})
