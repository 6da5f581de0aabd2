"""Start from weights that exist: a bundle, a run or checkpoint of ours, a published checkpoint; also at another size.

The networks are convolutional, so weights do not depend on the frame's size. What does, and how it is carried over:

    blur kernels (`down.weight`)          follow from the scale factor: the new model's own are kept
    keypoint detector, dense motion       must fit entirely; give the new model the scale factors at which they see the
                                          same number of pixels (`presets.at_size` does)
    generator, as many down blocks        must fit entirely
    generator, n more down blocks         down block i becomes down block i + n, up block i stays up block i (both count
                                          from the inside then), the bottleneck stays; the n outer blocks on either side
                                          and the first and last convolution start anew unless their shapes fit
    generator, n fewer down blocks        the same the other way round
    a generator that gains skips          the head of the occlusion map starts anew, at 0.73 everywhere. A blurred
                                          generator's map comes out so near to 1 that it would hardly learn again
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
from model.training.settings import TrainConfig

_SECTIONS = {"kp_detector": "keypoint_detector", "generator": "generator"}
_BLUR = ".down.weight"
_DOWN_BLOCK = re.compile(r"generator\.down_blocks\.(\d+)\.(.+)")
_MOTION = "generator.dense_motion_network."
_OCCLUSION = _MOTION + "occlusion."
# The logit of 0.73: mostly the source, and a slope that learns.
_FRESH_OCCLUSION_LOGIT = 1.0


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
    (old, had_skips), new = _read(source), bundle_state(networks)
    taken = _mapped(old, new)
    if networks.generator.skips and not had_skips:
        taken = {key: value for key, value in taken.items() if not key.startswith(_OCCLUSION)}
    fresh = [key for key in new if key not in taken and not key.endswith(_BLUR)]
    resized = _num_down_blocks(new) != _num_down_blocks(old)
    unused = [key for key in old if key not in new and not key.endswith(_BLUR)]
    # Where the generator gains or loses outer blocks, its drawing part may differ in places; nothing else may.
    foreign = [
        key for key in (*fresh, *unused) if not key.startswith(_OCCLUSION) and not (resized and _is_drawing(key))
    ]
    if foreign or not taken:
        raise TrainingError(
            "initial_weights_mismatch",
            f"The weights of {source.name} do not fit these networks: {compare_states(new, old)}.",
            "Keypoints, widths and depths must be the same; only the generator may gain or lose outer blocks.",
        )
    for key, value in taken.items():
        new[key].copy_(value)
    if any(key.startswith(_OCCLUSION) for key in fresh):
        new[_OCCLUSION + "weight"].zero_()
        new[_OCCLUSION + "bias"].fill_(_FRESH_OCCLUSION_LOGIT)
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


def _read(source: Path) -> tuple[dict[str, Tensor], bool]:
    """Return the weights of both networks under the keys of a bundle, and whether their generator has skips.

    Of a run these are its moving average, if it has one.
    """
    if source.is_dir() and (source / CONFIG_FILE).exists():
        bundle = load_bundle(source)
        return bundle_state(bundle.networks), bundle.config.generator.skips
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
    # Published checkpoints hold no configuration, and their generators no skips.
    config = content.get("config")
    return state, isinstance(config, dict) and TrainConfig.from_dict(config).model.generator.skips


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
