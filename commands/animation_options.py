"""The options of an animation as flags: the same names and defaults as over HTTP (docs/api.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

_CROP = "auto, none (the middle), or x,y,w,h in pixels."

_MODEL = click.option("--model", help="Name of a bundle; `animato models list` shows them.")
_DRIVING_CROP = click.option("--driving-crop", default="auto", show_default=True, help=_CROP)
_DRIVING_SUBJECT = click.option(
    "--driving-subject", type=click.IntRange(0), default=0, show_default=True, help="Face of DRIVING, by size."
)

_OPTIONS = (
    _MODEL,
    click.option(
        "--motion-transfer", type=click.Choice(["relative", "absolute"]), default="relative", show_default=True
    ),
    click.option("--relative-jacobian/--absolute-jacobian", default=True, show_default=True),
    click.option("--adapt-scale", is_flag=True, help="Scale the movement by the size of the source's keypoints."),
    click.option(
        "--reference-frame",
        default="auto",
        show_default=True,
        help="Where relative motion is measured from: auto (the frame most like the source), first, or its number.",
    ),
    click.option("--smoothing", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Steadier motion."),
    click.option("--source-crop", default="auto", show_default=True, help=_CROP),
    _DRIVING_CROP,
    click.option("--subject", type=click.IntRange(0), default=0, show_default=True, help="Face of SOURCE, by size."),
    _DRIVING_SUBJECT,
    click.option("--size", type=int, help="Pixels a side of the animated square, 64 to 2048. [the model's]"),
    click.option("--paste-back", is_flag=True, help="Put the animated square back into the whole of SOURCE."),
    click.option("--audio/--no-audio", default=True, show_default=True, help="Keep the driving video's sound."),
    click.option(
        "--format", type=click.Choice(["mp4", "webm", "gif", "webp", "png"]), help="[by the name of the result]"
    ),
    click.option(
        "--mark",
        type=click.Choice(["none", "label"]),
        default="none",
        show_default=True,
        help="label: a small label in a corner says that it is animated.",
    ),
    click.option("--views", help="Extra videos: comparison, keypoints, flow, occlusion; separated by commas."),
)


motion_option = click.option(
    "--motion", type=click.Path(path_type=Path, dir_okay=False), help="In place of DRIVING: FILE.safetensors of one."
)


def animation_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add all of them to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def driving_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add those that a motion template is made with."""
    for option in reversed((_MODEL, _DRIVING_CROP, _DRIVING_SUBJECT)):
        command = option(command)
    return command
