"""`animato preflight`: what an animation would be, before it is made."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.animation_options import animation_options, motion_option
from commands.options import device_option, precision_option, read_settings
from worker.terminal import errors_in_one_line, progress

if TYPE_CHECKING:
    from worker.preflights import Preflight, SourceLook


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("driving", required=False, type=click.Path(path_type=Path))
@motion_option
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="PREVIEW.png: one frame of it.")
@click.option("--json", "as_json", is_flag=True, help="The answer of the service, without the picture.")
@animation_options
@click.option("--fps", default="25", show_default=True, help="Of a folder of frames: 25, 29.97 or 30000/1001.")
@device_option
@precision_option
@errors_in_one_line
def preflight(
    source: Path,
    driving: Path | None,
    motion: Path | None,
    output: Path | None,
    as_json: bool,
    fps: str,
    device: str | None,
    precision: str | None,
    **options: object,
) -> None:
    """Say what animating SOURCE by DRIVING would be: crops, reference frame, how well they fit, how long it takes."""
    from worker.engine.local import look_ahead_locally

    settings = read_settings(device=device, precision=precision)
    found = look_ahead_locally(source, driving, settings, options, fps=fps, progress=progress, motion=motion)
    if output:
        output.write_bytes(base64.b64decode(found.preview.data))
    if as_json:
        click.echo(json.dumps(found.model_dump(mode="json", exclude={"preview"}), indent=2))
        return
    for line in _lines(found):
        click.echo(line)
    for warning in found.warnings:
        click.echo(f"animato: warning: {warning}", err=True)


def _lines(found: Preflight) -> list[str]:
    driving, mismatch, estimate = found.driving, found.mismatch, found.estimate
    sound = "sound" if driving.has_audio else "no sound"
    took = "" if estimate.seconds is None else f", about {estimate.seconds:g} s"
    return [
        f"source           {_seen(found.source)}",
        f"driving          {_seen(driving)}",
        f"                 {driving.frame_count} frames at {driving.frame_rate}, {driving.duration_s:g} s, {sound}",
        f"reference frame  {found.reference_frame}",
        f"mismatch         {mismatch.score:.2f} ({mismatch.level})",
        *([f"                 {mismatch.hint}"] if mismatch.hint else []),
        f"estimate         {estimate.frames} frames{took}",
    ]


def _seen(look: SourceLook) -> str:
    faces = f"{len(look.subjects)} face{'' if len(look.subjects) == 1 else 's'}"
    taken = "" if look.subject is None else f", number {look.subject} taken"
    return f"{look.width}×{look.height}, {faces}{taken}, crop {','.join(map(str, look.crop))}"
