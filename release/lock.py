"""The locked dependencies, and which part of Animato needs each of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PARTS = ("worker", "embedded", "tracing", "train", "evaluate", "dev")
"""Extras, from what serves to what only builds: a package belongs to the first that needs it."""


def normalized(name: str) -> str:
    """The name of a package as all spellings of it have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(repository: Path = REPOSITORY) -> dict[str, str]:
    """The versions of `requirements.lock`, by normalized name."""
    lines = (line.split("==") for line in (repository / "requirements.lock").read_text().split())
    return {normalized(name): version for name, version in lines}


def parts(repository: Path = REPOSITORY) -> dict[str, str]:
    """Which part needs each installed package: `api` (all need it), or the first extra in the order of `_PARTS`."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found: dict[str, str] = {}
    for part, roots in (("api", project["dependencies"]), *((name, extras[name]) for name in _PARTS)):
        for name in _needed(roots, extras):
            found.setdefault(name, part)
    return found


def _needed(requirements: list[str], extras: dict[str, list[str]]) -> Iterator[str]:
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        name, wanted = _split(requirement)
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        if name == "animato":
            waiting += [one for extra in wanted for one in extras[extra]]
            continue
        yield name
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        # Markers of platforms are not judged: what is not installed is passed over, or locked for another Python.
        waiting += [one for one in requires if "extra ==" not in one or any(f'"{extra}"' in one for extra in wanted)]


def _split(requirement: str) -> tuple[str, tuple[str, ...]]:
    match = _NAME.match(requirement)
    assert match, requirement
    extras = re.match(r"\s*\[([^\]]*)\]", requirement[match.end() :])
    return normalized(match[0]), tuple(one.strip() for one in extras[1].split(",")) if extras else ()
