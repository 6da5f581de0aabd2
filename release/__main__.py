"""A release: `python -m release 1.2.3 [--dry-run]` (`make release VERSION=1.2.3 DRY_RUN=1`).

Checks, then works in a clone: version and changelog, one commit, wheel and source archive built twice and compared,
bill of materials, hashes. Only when all of that is there does the commit come back into this checkout, with its tag; a
dry run leaves the checkout as it was. Nothing is pushed or uploaded.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import click

from release.building import build_twice, clone, git, sha256, write_sums
from release.lock import REPOSITORY
from release.sbom import bill

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_UNRELEASED = "## Unreleased\n"
_IMAGES = re.compile(r"(newTag: )[^\s,}]+")


@click.command()
@click.argument("version")
@click.option("--dry-run", is_flag=True, help="Do all of it, and leave the checkout as it is.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=REPOSITORY / "dist", show_default="dist")
def main(version: str, *, dry_run: bool, output: Path) -> None:
    """Make the release VERSION from what is committed."""
    problems = list(what_is_missing(REPOSITORY, version))
    if problems:
        raise click.ClickException("No release:\n" + "\n".join(f"- {problem}" for problem in problems))
    with tempfile.TemporaryDirectory(prefix="animato-release-") as folder:
        copy = Path(folder) / "animato"
        clone(REPOSITORY, copy)
        for name in ("user.name", "user.email"):
            git(copy, "config", name, git(REPOSITORY, "config", name))
        bump(copy, version, datetime.datetime.now(datetime.UTC).date())
        git(copy, "commit", "--quiet", "--all", "--message", f"Release {version}")
        shutil.rmtree(output, ignore_errors=True)
        made = build_twice(copy, output)
        materials = output / f"animato-{version}.cdx.json"
        materials.write_text(json.dumps(bill(copy), indent=1, sort_keys=True) + "\n")
        made.append(materials)
        write_sums(output, made)
        for path in made:
            click.echo(f"{sha256(path)}  {path.name}")
        if dry_run:
            click.echo(f"Dry run: {output} is what the release would be; the checkout is as it was.")
            return
        git(REPOSITORY, "fetch", "--quiet", str(copy), "HEAD")
        git(REPOSITORY, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
        git(REPOSITORY, "tag", "--annotate", f"v{version}", "--message", f"Animato {version}")
    click.echo(f"Tagged v{version}. What is left: git push --follow-tags, and {output} to where people get it.")


def what_is_missing(repository: Path, version: str) -> list[str]:
    """Why there can be no release, in sentences."""
    problems = []
    if not _VERSION.fullmatch(version):
        problems.append(f"{version!r} is not of the form 1.2.3.")
    elif _numbers(version) < _numbers(current_version(repository)):
        problems.append(f"{version} is older than {current_version(repository)}, which pyproject.toml has.")
    if git(repository, "status", "--porcelain"):
        problems.append("The checkout has changes that are not committed.")
    if git(repository, "tag", "--list", f"v{version}"):
        problems.append(f"There is a tag v{version}.")
    if not unreleased((repository / "CHANGELOG.md").read_text()):
        problems.append("CHANGELOG.md has nothing under 'Unreleased'.")
    return problems


def current_version(repository: Path) -> str:
    """The version, of its one source."""
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]


def unreleased(changelog: str) -> str:
    """What is under the heading of the next release."""
    _, found, rest = changelog.partition(_UNRELEASED)
    return rest.partition("\n## ")[0].strip() if found else ""


def bump(repository: Path, version: str, day: datetime.date) -> None:
    """Write the version where it stands: pyproject.toml, image tags of the manifests, a heading in the changelog."""
    project = repository / "pyproject.toml"
    before = f'\nversion = "{current_version(repository)}"\n'
    text = project.read_text()
    assert text.count(before) == 1
    project.write_text(text.replace(before, f'\nversion = "{version}"\n'))
    for path in sorted((repository / "docker" / "k8s").rglob("kustomization.yaml")):
        path.write_text(_IMAGES.sub(rf"\g<1>{version}", path.read_text()))
    changelog = repository / "CHANGELOG.md"
    heading = f"{_UNRELEASED}\n## {version} ({day.isoformat()})\n"
    changelog.write_text(changelog.read_text().replace(_UNRELEASED, heading, 1))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"No release: {error}") from None
