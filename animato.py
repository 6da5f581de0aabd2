"""The `animato` command. Each command imports what it needs when it runs, so that `animato --help` is quick."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _errors_in_one_line(command: Callable[P, R]) -> Callable[P, R]:
    """End a command that fails as expected with one line and exit code 1, not with a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from pydantic import ValidationError

        from worker.errors import AnimationError

        try:
            return command(*args, **kwargs)
        except ValidationError as error:
            first = error.errors()[0]
            name = "_".join(("ANIMATO", *map(str, first["loc"]))).upper()
            _fail("invalid_settings", f"{name}: {first['msg']}.", "docs/operations.md lists the settings.")
        except OSError as error:
            _fail("file_error", f"{error.filename or 'A file'}: {error.strerror or error}.", None)
        except AnimationError as error:
            _fail(error.code, error.detail, error.hint)
        except KeyboardInterrupt:
            _fail("interrupted", "Stopped.", None)
        except Exception as error:
            # The model's errors have the same three fields, in a tree of their own: model/ does not know worker/.
            if type(error).__module__ != "model.errors":
                raise
            _fail(getattr(error, "code", ""), getattr(error, "detail", ""), getattr(error, "hint", None))

    return run


def _fail(code: str, detail: str, hint: str | None) -> NoReturn:
    click.echo(f"animato: error: {detail}{f' {hint}' if hint else ''} [{code}]", err=True)
    sys.exit(1)


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
    signal.signal(signal.SIGTERM, _interrupt)


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
@_errors_in_one_line
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
@_errors_in_one_line
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
    report = animate_locally(source, driving, output, settings, options, fps=fps, progress=_progress)
    for warning in report.warnings:
        click.echo(f"animato: warning: {warning}", err=True)
    sound = "with sound" if report.has_audio else "no sound"
    click.echo(f"{output}: {report.frames} frames, {report.fps} frames/s, {report.width}×{report.height}, {sound}")


@main.command()
@click.option("-o", "--output", "folder", default="demo", show_default=True, type=click.Path(path_type=Path))
@_errors_in_one_line
def demo(folder: Path) -> None:
    """Start the service, post the sample pair over HTTP, and save the result and a side-by-side picture."""
    from worker.demo import run_demo

    with tempfile.TemporaryDirectory(prefix="animato-demo-") as data_dir:
        video, picture = run_demo(_settings(data_dir=Path(data_dir)), folder, say=click.echo, progress=_progress)
    click.echo(f"The animation:  {video}\nSide by side:   {picture}")


@main.group()
def models() -> None:
    """Import and look at bundles (trained networks)."""


@models.command("list")
@_errors_in_one_line
def list_models() -> None:
    """List the bundles that ship and those in the folders of ANIMATO_MODELS."""
    from worker.catalog import list_models

    for facts in list_models(_settings().model_dirs):
        click.echo(f"{facts.name:20} {facts.frame_size:4} px  {facts.num_keypoints:3} keypoints  {facts.description}")


@models.command("show")
@click.argument("name")
@_errors_in_one_line
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
@_errors_in_one_line
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


@contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal; yields a function that is told how many are done."""
    with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as bar:
        yield lambda done: bar.update(done - bar.pos)


if __name__ == "__main__":
    main()
