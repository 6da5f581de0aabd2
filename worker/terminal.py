"""How a command speaks: errors in one line, progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

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


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal; yields a function that is told how many are done."""
    with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as bar:
        yield lambda done: bar.update(done - bar.pos)
