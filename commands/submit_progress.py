"""How far `animato submit` is, on standard error: one line that changes on a terminal, few lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from client.service import Animation

_MIB = 2**20


class Terminal:
    """Told of everything; shows what is new."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._changes = sys.stderr.isatty()
        self._shown = ""
        self._phase = ""

    def uploading(self, done: int, total: int) -> None:
        """So many bytes of the files have left."""
        self._bytes("Uploading", done, total)

    def downloading(self, done: int, total: int) -> None:
        """So many bytes have come."""
        self._bytes("Downloading", done, total)

    def standing(self, animation: Animation) -> None:
        """How the animation stands."""
        eta = f", about {animation.eta_s} s" if animation.eta_s is not None and not animation.is_final else ""
        if animation.status == "queued":
            before = f", {animation.queue_position} before it" if animation.queue_position else ""
            self._show("queued", f"Queued{before}{eta}")
        elif animation.status == "processing":
            progress = animation.progress
            line = f"Animating {progress.frames_done}/{progress.frames_total}{eta}"
            self._show(f"animating {progress.percent // 25}", line)

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self.close()
            click.echo(f"animato: {text}", err=True)

    def close(self) -> None:
        """End the line that changes."""
        if self._shown and self._changes:
            click.echo("", err=True)
        self._shown = ""

    def warn(self, animation: Animation) -> None:
        """What was done differently from what was asked."""
        result = animation.said.get("result") or {}
        for warning in result.get("warnings") or ():
            self.say(f"warning: {warning}")

    def summary(self, animation: Animation) -> str:
        """What there is now."""
        result = animation.said.get("result") or {}
        sound = "with sound" if result.get("has_audio") else "no sound"
        size = f"{result.get('width')}×{result.get('height')}"
        return f"{result.get('frames')} frames, {result.get('fps')} frames/s, {size}, {sound}"

    def _bytes(self, verb: str, done: int, total: int) -> None:
        percent = 100 * done // total if total else 100
        self._show(f"{verb} {percent // 100}", f"{verb} {done / _MIB:.1f} of {total / _MIB:.1f} MiB ({percent}%)")

    def _show(self, phase: str, line: str) -> None:
        if self._quiet or line == self._shown or (not self._changes and phase == self._phase):
            return
        self._shown, self._phase = line, phase
        click.echo(f"\r\x1b[K{line}" if self._changes else line, nl=not self._changes, err=True)
