"""The `animato` command. Each command imports what it needs when it runs, so that `animato --help` is quick."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.terminal import counter, errors_in_one_line, interrupt, progress, stage_counter, training_step

if TYPE_CHECKING:
    from model.data.clip_cache import CacheProgress
    from worker.settings import Settings


def _settings(**overrides: object) -> Settings:
    """The settings of the environment, changed by the flags that were given."""
    from worker.settings import Settings

    given = {name: value for name, value in overrides.items() if value is not None}
    return Settings(**given)  # pyright: ignore[reportArgumentType]


device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the network runs.")
precision_option = click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of the network.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="animato")
def main() -> None:
    """Make a still picture move like a driving video."""
    from worker import logs

    logs.configure("WARNING")
    # `kill` ends a command as Ctrl-C does: half-written files are removed, children are ended.
    signal.signal(signal.SIGTERM, interrupt)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Queue, files and logs. [data]")
@device_option
@precision_option
@errors_in_one_line
def up(host: str, port: int, data_dir: Path | None, device: str | None, precision: str | None) -> None:
    """Run the whole service here: queue, worker and API, with nothing else to install."""
    from worker.embedded import Stack

    settings = _settings(data_dir=data_dir, device=device, precision=precision)
    Stack(settings, host=host, port=port, say=click.echo).run()


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("driving", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, help="OUT.mp4, or DIR/ for lossless PNG frames.")
@click.option("--model", help="Name of a bundle; `animato models list` shows them.")
@click.option("--motion", type=click.Choice(["relative", "absolute"]), default="relative", show_default=True)
@click.option("--relative-jacobian/--absolute-jacobian", default=True, show_default=True)
@click.option("--adapt-scale", is_flag=True, help="Scale the movement by the size of the source's keypoints.")
@click.option("--audio/--no-audio", default=True, show_default=True, help="Keep the driving video's sound.")
@click.option("--fps", default="25", show_default=True, help="Of a folder of frames: 25, 29.97 or 30000/1001.")
@click.option("--batch-frames", type=click.IntRange(1, 256), help="Frames that go through the network at once. [8]")
@device_option
@precision_option
@errors_in_one_line
def animate(
    source: Path,
    driving: Path,
    output: str,
    fps: str,
    batch_frames: int | None,
    device: str | None,
    precision: str | None,
    **options: object,
) -> None:
    """Animate SOURCE by DRIVING (a video, a GIF or a folder of frames) without a server."""
    from worker.engine.local import animate_locally

    settings = _settings(device=device, precision=precision, batch_frames=batch_frames)
    report = animate_locally(source, driving, output, settings, options, fps=fps, progress=progress)
    for warning in report.warnings:
        click.echo(f"animato: warning: {warning}", err=True)
    sound = "with sound" if report.has_audio else "no sound"
    click.echo(f"{output}: {report.frames} frames, {report.fps} frames/s, {report.width}×{report.height}, {sound}")


@main.command()
@click.option("-o", "--output", "folder", default="demo", show_default=True, type=click.Path(path_type=Path))
@errors_in_one_line
def demo(folder: Path) -> None:
    """Start the service, post the sample pair over HTTP, and save the result and a side-by-side picture."""
    from worker.demo import run_demo

    with tempfile.TemporaryDirectory(prefix="animato-demo-") as data_dir:
        video, picture = run_demo(_settings(data_dir=Path(data_dir)), folder, say=click.echo, progress=progress)
    click.echo(f"The animation:  {video}\nSide by side:   {picture}")


@main.group()
def models() -> None:
    """Import and look at bundles (trained networks)."""


@models.command("list")
@errors_in_one_line
def list_models() -> None:
    """List the bundles that ship and those in the folders of ANIMATO_MODELS."""
    from worker.catalog import list_models

    for facts in list_models(_settings().model_dirs):
        click.echo(f"{facts.name:20} {facts.frame_size:4} px  {facts.num_keypoints:3} keypoints  {facts.description}")


@models.command("show")
@click.argument("name")
@errors_in_one_line
def show_model(name: str) -> None:
    """Show what is known of the bundle NAME, after checking its files."""
    from model.bundle import load_bundle
    from worker.catalog import find_model

    facts = find_model(name, _settings().model_dirs)
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


@main.group()
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


@main.command()
@click.option("--preset", help="vox-256, taichi-256, ..., avatars-64, avatars-128, avatars-256")
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Clips; the avatars presets need none.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--resume", is_flag=True, help="Go on with the run in --output.")
@click.option("--init-from", type=click.Path(path_type=Path), help="A bundle, run or published checkpoint.")
@click.option("--by-identity/--by-clip", default=None, help="What an epoch visits; as published if not given.")
@click.option("--dry-run", is_flag=True, help="Write run.json and stop.")
@click.option("--steps", "num_steps", type=click.IntRange(1), help="Length of the run.")
@click.option("--batch-size", type=click.IntRange(1), help="Pairs in a step, over all devices together.")
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
    _config, path = launch(wanted, dry_run=dry_run, on_cache=_cached, on_progress=training_step)
    click.echo(f"{path}" if dry_run else f"{path}\nTo serve it: animato export {output} -o models/NAME")


@main.command()
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


@main.command()
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
    report = evaluate_by_name(bundle, baselines, _settings().model_dirs, output, given, on_progress=stage_counter)
    click.echo(f"{report.text()}\n\n{output / 'metrics.json'}\n{output / 'evaluation.png'}")


def _cached(progress: CacheProgress) -> None:
    counter("Decoding clips")(progress.done, progress.total)


if __name__ == "__main__":
    main()
