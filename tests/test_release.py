"""What is released: the packages' licences and hashes, known vulnerabilities, the version, the files of the wheel."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from animato import main as animato
from api.app import create_app
from release import licences
from release.__main__ import bump, current_version, unreleased, what_is_missing
from release.audit import main as audit
from release.building import repacked
from release.lock import locked, normalized
from tests.conftest import REPOSITORY
from tests.test_architecture import tracked
from worker.settings import Settings

PACKAGES = ("api", "client", "commands", "model", "worker")


def test_the_table_of_licences_is_that_of_the_lock() -> None:
    page = (REPOSITORY / licences.PAGE).read_text()
    lines = [line.split(" | ") for line in page.splitlines() if line.endswith(" |") and line.count("|") == 5]
    written = {line[0].removeprefix("| "): line[1] for line in lines[1:]}
    assert written == locked(), "make licences"
    rows = licences.rows()
    if len(rows) == len(written):  # on a Python for which all of it is locked
        assert page == licences.page(rows), "make licences"


def test_a_package_under_the_gpl_is_refused() -> None:
    rows = [*licences.rows(), licences.Row("readline", "1", "GPL-3.0-or-later", "api")]
    with pytest.raises(ValueError, match="readline"):
        licences.page(rows)


class Osv(BaseHTTPRequestHandler):
    """Answers as the OSV database does: one known vulnerability, of certifi."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = question["package"]["name"]
        self.asked.append(name)
        fixed = [{"introduced": "0"}, {"fixed": "9999"}]
        known = {
            "id": "GHSA-0000-0000-0000",
            "summary": "a test",
            "details": "a test",
            "published": "2026-01-01T00:00:00Z",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": fixed}],
                }
            ],
        }
        answer = json.dumps({"vulns": [known]} if name == "certifi" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def osv() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_audit_fails_for_what_is_known_and_says_when_it_could_not_look(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("certifi==2026.10.18\nh11==0.16.0\n")
    with osv() as url:
        found = CliRunner().invoke(audit, ["--url", url, "--lock", str(lock)])
        assert found.exit_code == 1, found.output
        assert "certifi 2026.10.18: GHSA-0000-0000-0000, fixed in 9999" in found.output
        assert "h11" in Osv.asked
        lock.write_text("h11==0.16.0\n")
        clean = CliRunner().invoke(audit, ["--url", url, "--lock", str(lock)])
        assert (clean.exit_code, clean.output) == (0, "audit: 1 packages, no known vulnerability\n")
    away = CliRunner().invoke(audit, ["--url", url, "--lock", str(lock)])
    assert away.exit_code == 0
    assert "audit skipped" in away.output
    assert "NOT looked for" in away.output


def test_one_version_everywhere() -> None:
    version = current_version(REPOSITORY)
    assert CliRunner().invoke(animato, ["--version"]).output.split()[-1] == version, "make .venv/.ready"
    assert create_app(Settings()).openapi()["info"]["version"] == version
    for path in tracked("docker/k8s/*.yaml"):
        for line in path.read_text().splitlines():
            if "newTag:" in line:
                assert f"newTag: {version}}}" in line


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments], cwd=folder, check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a release changes, as a repository of its own."""
    folder = tmp_path / "animato"
    manifests = (str(one.relative_to(REPOSITORY)) for one in tracked("docker/k8s/*"))
    for name in ("pyproject.toml", "CHANGELOG.md", *manifests):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "before")
    return folder


def test_no_release_without_a_clean_tree_a_changelog_and_a_new_version(checkout: Path) -> None:
    assert what_is_missing(checkout, "7.0.0") == []
    assert what_is_missing(checkout, "7.0") == ["'7.0' is not of the form 1.2.3."]
    assert "older" in what_is_missing(checkout, "0.0.9")[0]
    git(checkout, "tag", "v7.0.0")
    assert what_is_missing(checkout, "7.0.0") == ["There is a tag v7.0.0."]
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- Something.\n")
    assert what_is_missing(checkout, "7.1.0") == [
        "The checkout has changes that are not committed.",
        "CHANGELOG.md has nothing under 'Unreleased'.",
    ]


def test_a_bump_is_where_the_version_stands(checkout: Path) -> None:
    entries = unreleased((checkout / "CHANGELOG.md").read_text())
    bump(checkout, "7.0.0", datetime.date(2027, 1, 2))
    assert current_version(checkout) == "7.0.0"
    changelog = (checkout / "CHANGELOG.md").read_text()
    assert unreleased(changelog) == ""
    assert f"## Unreleased\n\n## 7.0.0 (2027-01-02)\n\n{entries}" in changelog
    lines = [line for path in checkout.rglob("kustomization.yaml") for line in path.read_text().splitlines()]
    tags = [line for line in lines if "newTag" in line]
    assert len(tags) == 3
    assert all("newTag: 7.0.0}" in line for line in tags)


def test_an_archive_is_packed_the_same_whoever_has_made_it(tmp_path: Path) -> None:
    packed = []
    for owner, mode in (("anna", 0o664), ("bert", 0o600)):
        path = tmp_path / f"{owner}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in ("b", "a") if owner == "anna" else ("a", "b"):
                member = tarfile.TarInfo(name)
                member.size, member.uname, member.mode, member.mtime = 3, owner, mode, len(packed)
                archive.addfile(member, io.BytesIO(b"abc"))
        packed.append(repacked(path, 1_700_000_000))
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed[0]))) as archive:
        assert [(one.name, one.mtime, one.mode, one.uname) for one in archive] == [
            (name, 1_700_000_000, 0o644, "") for name in ("a", "b")
        ]


def test_the_wheel_has_every_file_that_is_needed_and_no_tests(tmp_path: Path) -> None:
    # As setuptools builds it, without an environment of its own; from a copy, for it writes beside what it reads.
    source = tmp_path / "source"
    for path in tracked("*"):
        if path.parts[len(REPOSITORY.parts)] in (*PACKAGES, "tests", "release") or path.parent == REPOSITORY:
            target = source / path.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    program = "import setuptools.build_meta as backend, sys; print(backend.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", program, tmp_path]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {str(path.relative_to(REPOSITORY)) for package in PACKAGES for path in tracked(f"{package}/*")}
    assert names == {*wanted, "animato.py"}
    assert {name.split("/")[0] for name in names} == {*PACKAGES, "animato.py"}


@pytest.mark.slow
def test_a_wheel_in_an_environment_of_its_own_makes_the_demo(tmp_path: Path) -> None:
    """As somebody has it who installs it: no checkout, no home, no settings."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, REPOSITORY], check=True)
    [wheel] = tmp_path.glob("*.whl")
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1
    home, elsewhere, environment = (tmp_path / name for name in ("home", "cwd", "venv"))
    home.mkdir()
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "pip", "install", "--quiet", "--constraint", REPOSITORY / "requirements.lock"]
    at_home = {**os.environ, "HOME": str(home)}
    subprocess.run([*pip, f"{wheel}[worker,embedded]"], check=True, env=at_home, cwd=elsewhere)
    clean = {"HOME": str(home), "PATH": f"{environment / 'bin'}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    run = subprocess.run(
        [environment / "bin" / "animato", "demo"], cwd=elsewhere, env=clean, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (elsewhere / "demo" / "result.mp4").stat().st_size > 10_000
    freeze = subprocess.run([*pip[:1], "freeze"], capture_output=True, text=True, check=True).stdout
    installed = {normalized(line.split("==")[0]): line.split("==")[-1] for line in freeze.splitlines() if "==" in line}
    assert installed["torch"].split("+")[0] == locked()["torch"]
