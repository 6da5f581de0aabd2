"""The `animato` command. Each command imports what it needs when it runs, so that `animato --help` is quick.

Groups of commands are modules of `commands/`, added to `main` at the end of this file.
"""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import click

from commands.animation_options import animation_options, motion_option
from commands.jobs import jobs
from commands.keys import keys
from commands.models import models
from commands.motion import motion as motion_group
from commands.options import device_option, precision_option, read_settings
from commands.preflight import preflight
from commands.submit import submit
from commands.training import data, evaluate, export, train
from worker.terminal import errors_in_one_line, interrupt, progress


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
@click.option(
    "--allow-anonymous", is_flag=True, default=None, help="Without API keys, let in callers of other machines."
)
@device_option
@precision_option
@errors_in_one_line
def up(
    host: str,
    port: int,
    data_dir: Path | None,
    allow_anonymous: bool | None,
    device: str | None,
    precision: str | None,
) -> None:
    """Run the whole service here: queue, worker and API, with nothing else to install."""
    from worker.embedded import Stack

    settings = read_settings(data_dir=data_dir, allow_anonymous=allow_anonymous, device=device, precision=precision)
    Stack(settings, host=host, port=port, say=click.echo).run()


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("driving", required=False, type=click.Path(path_type=Path))
@motion_option
@click.option(
    "-o", "--output", required=True, help="OUT.mp4, .webm, .gif, .webp or .zip (PNG frames); or DIR/ for PNG frames."
)
@animation_options
@click.option("--fps", default="25", show_default=True, help="Of a folder of frames: 25, 29.97 or 30000/1001.")
@click.option("--batch-frames", type=click.IntRange(1, 256), help="Frames that go through the network at once. [8]")
@device_option
@precision_option
@errors_in_one_line
def animate(
    source: Path,
    driving: Path | None,
    motion: Path | None,
    output: str,
    fps: str,
    batch_frames: int | None,
    device: str | None,
    precision: str | None,
    **options: object,
) -> None:
    """Animate SOURCE by DRIVING (a video, a GIF or a folder of frames), or by a motion, without a server."""
    from worker.engine.local import animate_locally

    settings = read_settings(device=device, precision=precision, batch_frames=batch_frames)
    report = animate_locally(source, driving, output, settings, options, fps=fps, progress=progress, motion=motion)
    for warning in report.warnings:
        click.echo(f"animato: warning: {warning}", err=True)
    sound = "with sound" if report.has_audio else "no sound"
    click.echo(f"{output}: {report.frames} frames, {report.fps} frames/s, {report.width}×{report.height}, {sound}")
    for view in report.views:
        click.echo(f"{view.path}: {view.name}")


@main.command()
@click.option("-o", "--output", "folder", default="demo", show_default=True, type=click.Path(path_type=Path))
@errors_in_one_line
def demo(folder: Path) -> None:
    """Start the service, post the sample pair over HTTP, and save the result and a side-by-side picture."""
    from worker.demo import run_demo

    with tempfile.TemporaryDirectory(prefix="animato-demo-") as data_dir:
        video, picture = run_demo(read_settings(data_dir=Path(data_dir)), folder, say=click.echo, progress=progress)
    click.echo(f"The animation:  {video}\nSide by side:   {picture}")


for command in (preflight, motion_group, submit, jobs, keys, models, data, train, export, evaluate):
    main.add_command(command)


if __name__ == "__main__":
    main()
