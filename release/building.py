"""The wheel and the source archive of a commit, the same bytes each time: `python -m release.building [OUT]`.

Built in a clone of its own, so that nothing lies around that is not committed, by the setuptools that is pinned in
`build-requirements.txt`, with the commit's time as every file's time. The archive is packed again: setuptools gives it
the times and the owner of the checkout.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import click

from release.lock import REPOSITORY

_PINS = Path(__file__).with_name("build-requirements.txt")
SUMS = "SHA256SUMS"


def git(repository: Path, *arguments: str) -> str:
    """What git says. Raises CalledProcessError."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def clone(repository: Path, target: Path) -> None:
    """A copy of what is committed, with files that everybody may read whatever the umask is."""
    os.umask(0o022)
    git(repository, "clone", "--quiet", "--no-hardlinks", str(repository), str(target))


def build(repository: Path, output: Path) -> list[Path]:
    """Wheel and source archive of the commit that is checked out, in `output`."""
    epoch_s = int(git(repository, "log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory(prefix="animato-build-") as folder:
        source = Path(folder) / "animato"
        clone(repository, source)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch_s), "PIP_CONSTRAINT": str(_PINS)}
        command = [sys.executable, "-m", "build", "--outdir", str(source / "dist"), str(source)]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        output.mkdir(parents=True, exist_ok=True)
        built = []
        for path in sorted((source / "dist").iterdir()):
            target = output / path.name
            target.write_bytes(repacked(path, epoch_s) if path.suffix == ".gz" else path.read_bytes())
            built.append(target)
    return built


def build_twice(repository: Path, output: Path) -> list[Path]:
    """The same, built two times over. Raises ValueError when the two differ."""
    with tempfile.TemporaryDirectory() as folder:
        again = {path.name: sha256(path) for path in build(repository, Path(folder))}
    built = build(repository, output)
    once = {path.name: sha256(path) for path in built}
    if once != again:
        raise ValueError(f"two builds of the same commit differ: {once} and {again}")
    return built


def repacked(archive: Path, epoch_s: int) -> bytes:
    """The archive with its members in order, all of one time and of nobody."""
    packed = io.BytesIO()
    with (
        tarfile.open(archive) as before,
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=epoch_s, filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as after,
    ):
        for member in sorted(before.getmembers(), key=lambda one: one.name):
            member.mtime, member.pax_headers = epoch_s, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            after.addfile(member, before.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def write_sums(folder: Path, paths: list[Path]) -> Path:
    """The hashes of files, as `sha256sum --check` reads them."""
    sums = folder / SUMS
    sums.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in sorted(paths)))
    return sums


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@click.command()
@click.argument("output", type=click.Path(path_type=Path), default=REPOSITORY / "dist")
def main(output: Path) -> None:
    """Build the checked-out commit two times into OUTPUT, and compare."""
    shutil.rmtree(output, ignore_errors=True)
    for path in build_twice(REPOSITORY, output):
        click.echo(f"{sha256(path)}  {path.name}")


if __name__ == "__main__":
    main()
