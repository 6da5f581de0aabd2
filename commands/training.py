"""`animato data`, `train`, `export` and `evaluate`: from clips to a bundle, and how good it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.options import device_option, precision_option, read_settings
from worker.terminal import counter, errors_in_one_line, stage_counter, training_step

if TYPE_CHECKING:
    from model.data.clip_cache import CacheProgress


@click.group()
def data() -> None:
    """Make and check data sets to train on."""


@data.command("check")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--frame-size", type=click.IntRange(16, 1024), default=256, show_default=True)
@click.option("--sheet", type=click.Path(path_type=Path), default="contact-sheet.png", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@errors_in_one_line
def check_data(folder: Path, frame_size: int, sheet: Path, as_json: bool) -> None:
    """Look for what would spoil a training run on FOLDER; exits with 1 when it cannot be used."""
    from model.data.check import check_data_set

    report = check_data_set(folder, frame_size, on_progress=counter("Checking"))
    # First what took long: the sheet may not be writable.
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.text())
    report.write_contact_sheet(sheet)
    if not as_json:
        click.echo(f"Contact sheet: {sheet}")
    sys.exit(report.verdict == "unusable")


@data.command("avatars")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the MP4 files.")
@click.option("--clips", type=click.IntRange(1), required=True, help="How many.")
@click.option("--clips-per-identity", type=click.IntRange(1), default=1, show_default=True)
@click.option("--frames", type=click.IntRange(2), default=75, show_default=True, help="Of each, at 25 a second.")
@click.option("--size", type=click.IntRange(32, 1024), default=256, show_default=True, help="Pixels a side.")
@click.option("--split", type=click.Choice(["train", "test"]), default="train", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@errors_in_one_line
def draw_avatars(output: Path, **options: Any) -> None:
    """Draw clips of cartoon heads: a data set with no rights of others."""
    from model.data.avatars import write_clips

    if options["size"] % 2:
        raise click.UsageError("--size must be even: a video's width is")
    written = write_clips(output, on_progress=counter("Drawing"), **options)
    click.echo(f"{output}: {len(written)} clips")


@click.command()
@click.option("--preset", help="vox-256, taichi-256, ..., avatars-64, avatars-128, avatars-256")
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Clips; the avatars presets need none.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--resume", is_flag=True, help="Go on with the run in --output.")
@click.option("--init-from", type=click.Path(path_type=Path), help="A bundle, run or published checkpoint.")
@click.option("--by-identity/--by-clip", default=None, help="What an epoch visits; as published if not given.")
@click.option("--dry-run", is_flag=True, help="Write run.json and stop.")
@click.option("--steps", "num_steps", type=click.IntRange(1), help="Length of the run.")
@click.option("--batch-size", type=click.IntRange(1), help="Pairs in a step, over all devices together.")
@click.option("--avatar-pool", type=click.IntRange(0), help="Avatars drawn ahead, kept on the device: for GPUs.")
@click.option("--workers", "num_workers", type=click.IntRange(0), help="Processes that read or draw ahead.")
@click.option("--seed", type=click.IntRange(0))
@click.option("--log-every", type=click.IntRange(1))
@click.option("--sample-every", type=click.IntRange(1))
@click.option("--checkpoint-every", type=click.IntRange(1))
@device_option
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of the convolutions.")
@errors_in_one_line
def train(
    preset: str | None,
    folder: Path | None,
    output: Path,
    resume: bool,
    init_from: Path | None,
    by_identity: bool | None,
    dry_run: bool,
    **changes: Any,
) -> None:
    """Train a network on clips, or on drawn avatars; Ctrl-C writes a checkpoint first."""
    from model.training.launch import Launch, launch

    if (preset is None) != resume:
        raise click.UsageError("give --preset for a new run, or --resume")
    given = tuple((name, value) for name, value in changes.items() if value is not None)
    wanted = Launch(
        output=output,
        preset=preset,
        data=folder,
        resume=resume,
        init_from=init_from,
        by_identity=by_identity,
        changes=given,
    )
    _config, path = launch(
        wanted, dry_run=dry_run, on_cache=_cached, on_pool=counter("Drawing avatars"), on_progress=training_step
    )
    click.echo(f"{path}" if dry_run else f"{path}\nTo serve it: animato export {output} -o models/NAME")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The bundle's folder (new).")
@click.option("--half", is_flag=True, help="Store the weights as 16-bit floats: half the size.")
@click.option("--average/--newest", default=True, show_default=True, help="The moving average of the weights.")
@click.option("--licence", default="")
@click.option("--notes", default="", help="What people should know of this model.")
@errors_in_one_line
def export(run: Path, output: Path, half: bool, average: bool, licence: str, notes: str) -> None:
    """Turn the newest checkpoint of RUN into a bundle that can be served."""
    from model.export import export_bundle

    export_bundle(run, output, half=half, average=average, licence=licence, notes=notes)
    click.echo(f"{output}: a bundle. To serve it: ANIMATO_MODELS={output.parent} animato up")


@click.command()
@click.argument("bundle")
@click.option("--data", required=True, help="A folder of clips, or `avatars`: drawn heads that nobody trained on.")
@click.option("--frames", type=click.IntRange(1), help="Driving frames: of a clip at most [32], of an avatar [4].")
@click.option("--identities", type=click.IntRange(2), default=200, show_default=True, help="How many avatars.")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the avatars.")
@click.option("--detector", type=click.Choice(["auto", "faces", "none"]), default="auto", show_default=True)
@click.option("--baseline", "baselines", multiple=True, help="Another bundle for the same table; may be repeated.")
@device_option
@precision_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the report.")
@errors_in_one_line
def evaluate(bundle: str, baselines: tuple[str, ...], output: Path, **options: Any) -> None:
    """Measure BUNDLE (a name or a folder): errors beside those of copying the source, and a picture."""
    from model.evaluation.evaluate import EvaluationOptions, evaluate_by_name

    given = EvaluationOptions(**{name: value for name, value in options.items() if value is not None})
    report = evaluate_by_name(bundle, baselines, read_settings().model_dirs, output, given, on_progress=stage_counter)
    click.echo(f"{report.text()}\n\n{output / 'metrics.json'}\n{output / 'evaluation.png'}")


def _cached(progress: CacheProgress) -> None:
    counter("Decoding clips")(progress.done, progress.total)
