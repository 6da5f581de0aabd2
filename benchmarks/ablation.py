"""The paper's ablation on drawn avatars, with one command: `python -m benchmarks.ablation -o OUT`.

Every variant is trained with the same seed, data, steps and schedule, and all are evaluated together on the same unseen
avatars. A run that was stopped goes on where it was. `OUT/evaluation/` holds the table and the pictures.

The base is the published method on a small network: no skips, no keypoint prior, no keypoint dropout, pairs of one
clip alone. The first two are ours; a variant each shows what they add.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import click
import torch

from model.data.avatars import AVATARS, AvatarPairs
from model.evaluation.evaluate import EvaluationOptions, evaluate
from model.export import export_bundle
from model.training.checkpoint import FOLDER, list_checkpoints
from model.training.place import Place, as_fast_as
from model.training.presets import PRESETS, at_size
from model.training.settings import TrainConfig
from model.training.train import Progress, run_training
from worker.terminal import training_step

Change = Callable[[TrainConfig], TrainConfig]


def without_jacobians(config: TrainConfig) -> TrainConfig:
    """Zeroth order: keypoints only translate what is near them."""
    return replace(config, model=replace(config.model, estimate_jacobian=False))


def without_occlusion(config: TrainConfig) -> TrainConfig:
    """Nothing is masked; everything is taken from the moved source."""
    generator = replace(config.model.generator, estimate_occlusion_map=False)
    return replace(config, model=replace(config.model, generator=generator))


def single_scale(config: TrainConfig) -> TrainConfig:
    """Compare features at full size only. The weight grows, so that the term as a whole keeps its share."""
    scales = config.perceptual.scales
    weights = tuple(weight * len(scales) for weight in config.losses.perceptual)
    return replace(
        config,
        perceptual=replace(config.perceptual, scales=(1.0,)),
        losses=replace(config.losses, perceptual=weights),
    )


def without_jacobian_equivariance(config: TrainConfig) -> TrainConfig:
    """Nothing ties the Jacobians to how the picture is warped."""
    return replace(config, losses=replace(config.losses, equivariance_jacobian=0.0))


def with_keypoint_prior(config: TrainConfig) -> TrainConfig:
    """Ours: keypoints push each other apart."""
    return replace(config, losses=replace(config.losses, keypoint_prior=10.0))


def with_both(config: TrainConfig) -> TrainConfig:
    """Ours: the prior, and the source's finer features."""
    config = with_keypoint_prior(config)
    return replace(config, model=replace(config.model, generator=replace(config.model.generator, skips=True)))


VARIANTS: Mapping[str, Change] = MappingProxyType(
    {
        "full": lambda config: config,
        "no-jacobians": without_jacobians,
        "no-occlusion": without_occlusion,
        "single-scale": single_scale,
        "no-jacobian-equivariance": without_jacobian_equivariance,
        "keypoint-prior": with_keypoint_prior,
        "prior-and-skips": with_both,
    }
)
"""The first five are the paper's question; the others are ours."""


def variant(name: str, *, frame_size: int = 64, steps: int, batch_size: int, seed: int, workers: int) -> TrainConfig:
    """Return the run of one variant. All differ from `full` in one thing."""
    config = at_size(PRESETS["avatars-64"](), frame_size)
    plain = replace(config.model, name=name, generator=replace(config.model.generator, skips=False))
    base = replace(
        config,
        name=f"ablation-{name}",
        model=plain,
        losses=replace(config.losses, keypoint_prior=0.0, l1_to_copy=0.0),
        keypoint_dropout=0.0,
        keypoint_distance=0.25,
        expression_pairs=0.0,
        close_ups=0.0,
        cross_identity_pairs=0.0,
        num_steps=steps,
        batch_size=batch_size,
        seed=seed,
        num_workers=workers,
        sample_every=steps,
        checkpoint_every=100,
    )
    return VARIANTS[name](base)


def train_variant(config: TrainConfig, folder: Path, on_progress: Callable[[Progress], None] | None = None) -> Path:
    """Train, or go on training, in `folder`, and return the last checkpoint. What is trained already stays as it is."""
    size, batch_size = config.model.frame_size, config.batch_size
    return run_training(
        config,
        AvatarPairs(size, batch_size, seed=config.seed),
        folder,
        resume=bool(list_checkpoints(folder / FOLDER)),
        on_progress=on_progress,
        sample_from=AvatarPairs(size, min(batch_size, 8), seed=config.seed, split="test"),
        facts={"data": AVATARS},
    )


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="These variants; all if not given.")
@click.option("--frame-size", default=64, show_default=True)
@click.option("--steps", default=600, show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--identities", default=100, show_default=True, help="Unseen avatars to evaluate on.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--threads", default=0, help="Of torch; 0 leaves it to torch.")
@click.option("--train-only", is_flag=True, help="Stop before the evaluation.")
def main(
    output: Path,
    only: tuple[str, ...],
    frame_size: int,
    steps: int,
    batch_size: int,
    identities: int,
    seed: int,
    workers: int,
    threads: int,
    train_only: bool,
) -> None:
    """Train every variant, then evaluate them side by side."""
    if threads:
        torch.set_num_threads(threads)
    bundles = []
    for name in only or VARIANTS:
        config = variant(name, frame_size=frame_size, steps=steps, batch_size=batch_size, seed=seed, workers=workers)
        config = as_fast_as(Place(config.device).device, config)
        click.echo(name, err=True)
        checkpoint = train_variant(config, output / "runs" / name, training_step)
        bundle = output / "bundles" / name
        # A run that has gone on has other weights than the bundle of before.
        shutil.rmtree(bundle, ignore_errors=True)
        export_bundle(checkpoint, bundle)
        bundles.append(bundle)
    if not train_only:
        options = EvaluationOptions(data=AVATARS, identities=identities, seed=seed)
        report = evaluate(bundles[0], output / "evaluation", options, baselines=bundles[1:])
        click.echo(report.text())


if __name__ == "__main__":
    main()
