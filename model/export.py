"""From training to serving: turn a run, or one of its checkpoints, into a bundle.

The bundle is written, loaded as serving loads it, and run beside the networks it was made from. It appears at its place
only if both draw the same.

Shapes: B batch, C channels, H W height and width.
"""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model.bundle import load_bundle, save_bundle
from model.bundle_index import Provenance, sha256_of
from model.config import ModelConfig
from model.errors import BundleError
from model.networks.assembly import Networks, assemble
from model.training.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from model.training.errors import TrainingError

# What rounding the weights may make of frames: the lowest PSNR in decibels, and the largest mean difference of colours
# in [0, 1]. Not the largest difference of all: the frames tried are noise, which a detector has never seen, and where a
# keypoint moves by a pixel the sharp edges of a trained network move too.
_TOLERANCE = {"fp32": (110.0, 1e-6), "fp16": (40.0, 0.002)}
_NUM_TRIALS = 4


def export_bundle(
    source: Path, output: Path, *, half: bool = False, average: bool = True, licence: str = "", notes: str = ""
) -> Path:
    """Write the weights of `source` as a bundle at `output`, and return `output`.

    Args:
        source: a run's folder (its newest checkpoint) or a checkpoint.
        output: the bundle to make; it must not exist.
        half: store convolutions as float16.
        average: take the moving average of the weights where the run kept one.
        licence: under what terms the weights are; recorded.
        notes: anything worth recording before what the run itself tells.

    Raises:
        TrainingError: `run_not_found`, or `export_differs` if the bundle does not draw what the networks draw.
        BundleError: `bundle_exists`.

    """
    if output.exists():
        raise BundleError("bundle_exists", f"{output.name} exists already.", "Choose another name, or remove it.")
    path = latest_checkpoint(source)
    checkpoint = load_checkpoint(path)
    networks = _networks_of(checkpoint, average=average)
    provenance = Provenance(
        source_file=path.name,
        source_sha256=sha256_of(path),
        licence=licence,
        notes=" ".join(part for part in (notes, describe_training(checkpoint, average=average)) if part),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        staged = save_bundle(Path(folder) / output.name, networks, checkpoint.config.model, provenance, half=half)
        refuse_difference(networks, load_bundle(staged).networks, checkpoint.config.model, half=half)
        staged.rename(output)
    return output


def refuse_difference(networks: Networks, stored: Networks, config: ModelConfig, *, half: bool) -> None:
    """Draw a few frames with both.

    Raises `TrainingError` with code `export_differs` if they differ more than rounding explains.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (_NUM_TRIALS, config.num_channels, 8, 8)
    source_BCHW, driving_BCHW = (
        F.interpolate(torch.rand(shape, generator=generator), size=(config.frame_size,) * 2, mode="bilinear")
        for _ in range(2)
    )
    with torch.inference_mode():
        difference_BCHW = _draw(networks, source_BCHW, driving_BCHW) - _draw(stored, source_BCHW, driving_BCHW)
    psnr_db = -10 * difference_BCHW.double().square().mean().log10().item()
    mean = difference_BCHW.abs().mean().item()
    lowest_db, largest_mean = _TOLERANCE["fp16" if half else "fp32"]
    # Written so that NaN, which compares false, is refused.
    if not (psnr_db >= lowest_db and mean <= largest_mean):
        raise TrainingError(
            "export_differs",
            f"The bundle draws frames that differ from the run's: PSNR {psnr_db:.1f} dB, mean {mean:.5f} "
            f"(allowed {lowest_db:.0f} dB and {largest_mean:g}).",
            "Export without half precision." if half else "",
        )


def describe_training(checkpoint: Checkpoint, *, average: bool) -> str:
    """Say in a sentence or two how the weights came to be."""
    config, facts = checkpoint.config, checkpoint.facts
    averaged = f", moving average {config.ema_decay:g}" if average and checkpoint.ema else ""
    told = {key: value for key, value in facts.items() if key not in {"seconds", "losses", "initialized"}}
    if "initialized" in facts:  # of a path the name, of a list of tensors the length
        start = facts["initialized"]
        told["initialized"] = f"{Path(start['source']).name}, {len(start['fresh'])} tensors anew"
    losses = ", ".join(f"{name} {value:.3g}" for name, value in facts.get("losses", {}).items())
    return (
        f"Trained with Animato ({config.name}): {checkpoint.step} of {config.num_steps} steps of {config.batch_size} "
        f"pairs at {config.model.frame_size} pixels, {facts.get('seconds', 0) / 3600:.2f} hours{averaged}. "
        f"Last losses: {losses or 'none'}. {json.dumps(told, ensure_ascii=False)}"
    )


def _networks_of(checkpoint: Checkpoint, *, average: bool) -> Networks:
    networks = assemble(checkpoint.config.model)
    averaged = checkpoint.ema if average else None
    sections = averaged or {"kp_detector": checkpoint.kp_detector, "generator": checkpoint.generator}
    networks.keypoint_detector.load_state_dict(sections["kp_detector"])
    networks.generator.load_state_dict(sections["generator"])
    for network in networks:
        network.requires_grad_(False)
    return networks


def _draw(networks: Networks, source_BCHW: Tensor, driving_BCHW: Tensor) -> Tensor:
    generator = networks.generator
    dense_motion = generator.dense_motion_network
    source, driving = networks.keypoint_detector(source_BCHW), networks.keypoint_detector(driving_BCHW)
    motion = dense_motion(dense_motion.downsample(source_BCHW), source, driving)
    return generator.decode(generator.encode(source_BCHW), motion)
