"""Known vulnerabilities of the locked dependencies: `python -m release.audit`, a part of `make check`.

pip-audit asks the OSV database. Where that cannot be reached nothing was found, which is not the same as nothing known:
that is said, and is no failure; what it finds is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import click

from release.lock import REPOSITORY

_OSV = "https://api.osv.dev/v1/query"
_REACH_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 10
_AUDIT_TIMEOUT_S = 300.0
_HARMLESS = '{"package": {"ecosystem": "PyPI", "name": "pip"}, "version": "99"}'


def unreachable(url: str, timeout_s: float = _REACH_TIMEOUT_S) -> str | None:
    """Why the database does not answer; None when it does."""
    headers = {"Content-Type": "application/json"}
    question = urllib.request.Request(url, _HARMLESS.encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(question, timeout=timeout_s):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))


@click.command()
@click.option("--url", default=_OSV, show_default=True, help="The database: OSV, or one that speaks as it does.")
@click.option("--ignore", multiple=True, help="Id of a finding that is known and accepted.")
@click.option("--lock", type=click.Path(path_type=Path, exists=True), default=REPOSITORY / "requirements.lock")
def main(url: str, ignore: tuple[str, ...], lock: Path) -> None:
    """Fail when a locked dependency has a known vulnerability."""
    if reason := unreachable(url):
        click.echo(f"audit skipped: {url} cannot be reached ({reason}). Known vulnerabilities were NOT looked for.")
        return
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--no-deps", "--disable-pip"]
        service = ["--vulnerability-service", "osv", "--osv-url", url, "--timeout", str(_ANSWER_TIMEOUT_S)]
        output = ["--progress-spinner", "off", "--format", "json", "--output", report]
        accepted = [argument for one in ignore for argument in ("--ignore-vuln", one)]
        command += [*service, *output, *accepted]
        run = subprocess.run(command, capture_output=True, text=True, timeout=_AUDIT_TIMEOUT_S, check=False)
        if not report.exists():
            raise click.ClickException(f"pip-audit failed: {run.stderr.strip()[-2000:]}")
        dependencies = json.loads(report.read_text())["dependencies"]
    unread = [one["name"] for one in dependencies if "skip_reason" in one]
    found = [
        f"{one['name']} {one['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'no version'}"
        for one in dependencies
        for known in one.get("vulns", ())
    ]
    if unread:
        click.echo(f"audit: not looked for: {', '.join(unread)}")
    for line in found:
        click.echo(line)
    if found:
        raise click.ClickException(f"{len(found)} known vulnerabilities in {lock.name}")
    click.echo(f"audit: {len(dependencies) - len(unread)} packages, no known vulnerability")


if __name__ == "__main__":
    main()
