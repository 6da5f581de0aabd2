"""`animato models`: import and look at bundles."""

from __future__ import annotations

from pathlib import Path

import click

from commands.options import read_settings
from worker.terminal import errors_in_one_line


@click.group()
def models() -> None:
    """Import and look at bundles (trained networks)."""


@models.command("list")
@errors_in_one_line
def list_models() -> None:
    """List the bundles that ship and those in the folders of ANIMATO_MODELS."""
    from worker.catalog import list_models

    for facts in list_models(read_settings().model_dirs):
        click.echo(f"{facts.name:20} {facts.frame_size:4} px  {facts.num_keypoints:3} keypoints  {facts.description}")


@models.command("show")
@click.argument("name")
@errors_in_one_line
def show_model(name: str) -> None:
    """Show what is known of the bundle NAME, after checking its files."""
    from model.bundle import load_bundle
    from worker.catalog import find_model

    facts = find_model(name, read_settings().model_dirs)
    load_bundle(facts.folder)  # refuses files that do not match their checksums
    click.echo(facts.model_dump_json(indent=2))


@models.command("import")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--preset", help="A published configuration: vox-256, vox-adv-256, taichi-256, ...")
@click.option("--config", type=click.Path(path_type=Path), help="The YAML or JSON file the network was trained with.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The bundle's folder (new).")
@click.option("--half", is_flag=True, help="Store the weights as 16-bit floats: half the size.")
@click.option("--licence", default="", help="Under what terms the weights are; recorded in the bundle.")
@click.option("--notes", default="", help="What people should know of this model; recorded in the bundle.")
@errors_in_one_line
def import_model(
    checkpoint: Path, preset: str | None, config: Path | None, output: Path, half: bool, licence: str, notes: str
) -> None:
    """Turn a published CHECKPOINT (.pth.tar) into a bundle; no code in the file is ever run."""
    from model.config import PRESETS
    from model.import_original import import_checkpoint
    from model.published_config import read_config

    if (preset is None) == (config is None):
        raise click.UsageError("give either --preset or --config")
    if preset is not None and preset not in PRESETS:
        raise click.UsageError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    model_config = PRESETS[preset]() if preset else read_config(config or Path(), output.name)
    import_checkpoint(checkpoint, model_config, output, half, licence=licence, notes=notes)
    click.echo(f"{output}: a bundle. To serve it: ANIMATO_MODELS={output.parent} animato up")
