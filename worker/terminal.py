"""How a command speaks: errors in one line, progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import NoReturn, ParamSpec, Protocol, TypeVar

import click
from pydantic import ValidationError

from model.errors import ModelError
from worker.errors import AnimationError

P = ParamSpec("P")
R = TypeVar("R")


def interrupt(_number: int, _frame: object) -> NoReturn:
    """A signal handler that ends a command as Ctrl-C does."""
    raise KeyboardInterrupt


def errors_in_one_line(command: Callable[P, R]) -> Callable[P, R]:
    """End a command that fails as expected with one line and exit code 1, not with a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ValidationError as error:
            first = error.errors()[0]
            name = "_".join(("ANIMATO", *map(str, first["loc"]))).upper()
            _fail("invalid_settings", f"{name}: {first['msg']}.", "docs/operations.md lists the settings.")
        except BrokenPipeError:
            raise  # whoever read our output has seen enough (`| head`): click ends quietly
        except OSError as error:
            _fail("file_error", f"{error.filename or 'A file'}: {error.strerror or error}.", None)
        except AnimationError as error:
            _fail(error.code, error.detail, error.hint)
        except KeyboardInterrupt:
            _fail("interrupted", "Stopped.", None)
        except ModelError as error:  # model/ does not know worker/: its errors are a tree of their own
            if error.code == "interrupted":
                click.echo(f"animato: {error.detail} {error.hint}", err=True)
                sys.exit(130)
            _fail(error.code, error.detail, error.hint)

    return run


def _fail(code: str, detail: str, hint: str | None) -> NoReturn:
    click.echo(f"animato: error: {detail}{f' {hint}' if hint else ''} [{code}]", err=True)
    sys.exit(1)


def counter(label: str) -> Callable[..., None]:
    """A line on the terminal that counts: called with how many are done and how many there are."""
    return lambda done, total, *_: click.echo(f"\r{label} {done}/{total}", nl=done == total, err=True)


def stage_counter(label: str, done: int, total: int) -> None:
    """Count what has several stages, each on its own line."""
    counter(label)(done, total)


class StepProgress(Protocol):
    """How far a training run is: what `model.training` tells, without importing it here."""

    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def num_steps(self) -> int: ...  # noqa: D102
    @property
    def losses(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def seconds_per_step(self) -> float: ...  # noqa: D102
    @property
    def remaining_s(self) -> float: ...  # noqa: D102


def training_step(progress: StepProgress) -> None:
    """One line that changes on a terminal; elsewhere one line every hundred steps."""
    if sys.stderr.isatty() or progress.step % 100 == 0 or progress.step == progress.num_steps:
        terms = "  ".join(f"{name} {value:.3g}" for name, value in progress.losses.items())
        left = timedelta(seconds=round(progress.remaining_s))
        line = f"step {progress.step}/{progress.num_steps}  {progress.seconds_per_step:.2f} s  left {left}  {terms}"
        ends = not sys.stderr.isatty() or progress.step == progress.num_steps
        click.echo(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, nl=ends, err=True)


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal; yields a function that is told how many are done."""
    with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as bar:
        yield lambda done: bar.update(done - bar.pos)
