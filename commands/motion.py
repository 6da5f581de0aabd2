"""`animato motion`: the motion of a clip, extracted once."""

from __future__ import annotations

from pathlib import Path

import click

from commands.animation_options import driving_options
from commands.options import device_option, precision_option, read_settings
from worker.terminal import errors_in_one_line, progress


@click.group()
def motion() -> None:
    """Extract the motion of a clip once, use it with any picture."""


@motion.command("extract")
@click.argument("driving", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.safetensors")
@driving_options
@click.option("--fps", default="25", show_default=True, help="Of a folder of frames: 25, 29.97 or 30000/1001.")
@click.option("--batch-frames", type=click.IntRange(1, 256), help="Frames that go through the network at once. [8]")
@device_option
@precision_option
@errors_in_one_line
def extract(
    driving: Path,
    output: Path,
    fps: str,
    batch_frames: int | None,
    device: str | None,
    precision: str | None,
    **options: object,
) -> None:
    """Write the motion of DRIVING to a file for `animato animate --motion`. Its sound goes with it."""
    from worker.engine.local import extract_locally

    settings = read_settings(device=device, precision=precision, batch_frames=batch_frames)
    header = extract_locally(driving, output, settings, options, fps=fps, progress=progress).header
    for warning in header.warnings:
        click.echo(f"animato: warning: {warning}", err=True)
    sound = "with sound" if header.driving.has_audio else "no sound"
    click.echo(f"{output}: {header.driving.frames} frames, {header.driving.fps} frames/s, {sound}, for {header.model}")
