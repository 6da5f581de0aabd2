"""The bill of materials of the locked dependencies, as CycloneDX: `python -m release.sbom OUT.cdx.json`.

cyclonedx-py reads what is installed (so it knows licences and who needs whom); only what is locked stays, and what is
installed must be what is locked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from release.lock import REPOSITORY, locked, normalized

_FFMPEG = {
    "type": "application",
    "bom-ref": "imageio-ffmpeg#ffmpeg",
    "name": "ffmpeg",
    "description": "The program that the wheel carries; IMAGEIO_FFMPEG_EXE names another one.",
    "licenses": [{"license": {"id": "GPL-3.0-or-later"}}],
}


def bill(repository: Path = REPOSITORY) -> dict[str, Any]:
    """The document. Raises ValueError when what is installed is not what is locked."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "bom.json"
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", repository / "pyproject.toml"]
        subprocess.run([*command, "--output-reproducible", "-o", output, sys.executable], check=True)
        document = json.loads(output.read_text())
    versions = locked(repository)
    kept = [one for one in document["components"] if normalized(one["name"]) in versions]
    other = [
        f"{one['name']} {one['version']} (locked: {versions[normalized(one['name'])]})"
        for one in kept
        if one["version"].split("+")[0] != versions[normalized(one["name"])]
    ]
    if other:
        raise ValueError(f"installed is something else than locked: {', '.join(other)}")
    for one in kept:
        # Where it was installed from says something of this machine, and nothing of the package.
        one.pop("externalReferences", None)
        if one["name"] == "imageio-ffmpeg":
            one["components"] = [_FFMPEG]
    root = document["metadata"]["component"]["bom-ref"]
    refs = {root, *(one["bom-ref"] for one in kept)}
    document["components"] = kept
    document["dependencies"] = [
        {**one, **({"dependsOn": [ref for ref in one["dependsOn"] if ref in refs]} if "dependsOn" in one else {})}
        for one in document["dependencies"]
        if one["ref"] in refs
    ]
    return document


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
def main(output: Path) -> None:
    """Write the bill of materials to OUTPUT."""
    try:
        document = bill()
    except ValueError as error:
        raise click.ClickException(f"{error}. Run `make` again.") from None
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    click.echo(f"{output}: {len(document['components'])} packages")


if __name__ == "__main__":
    main()
