"""What the house promises, checked: small files, a light API, a README that shows the tree as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SOURCE_LINES, TEST_LINES = 300, 500
LONGER: dict[str, str] = {}
"""Files that may be longer, each with its reason."""
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "base", "manager"}


def tracked(pattern: str) -> list[Path]:
    answer = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [REPOSITORY / line for line in answer.stdout.splitlines() if (REPOSITORY / line).exists()]


def test_files_are_small() -> None:
    too_long = {}
    for path in tracked("*.py"):
        name = str(path.relative_to(REPOSITORY))
        lines = len(path.read_text().splitlines())
        if lines > (TEST_LINES if name.startswith("tests/") else SOURCE_LINES) and name not in LONGER:
            too_long[name] = lines
    assert too_long == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [path for path in tracked("*.py") if path.stem in FORBIDDEN_NAMES] == []


@pytest.mark.parametrize(
    "module",
    ["api.app", "client.submission", "commands.submit", "worker.engine.tasks", "worker.embedded", "worker.catalog"],
)
def test_imported_without_torch(module: str) -> None:
    """The API's image has no torch; the worker's parent must not load it before it forks."""
    program = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_the_api_runs_without_what_its_image_lacks() -> None:
    program = """
import sys
sys.modules |= dict.fromkeys(("torch", "numpy", "imageio"))  # an import of one of them fails
import api.app, commands.jobs, commands.keys, commands.submit
from worker.settings import UNLIMITED
from worker.media_probe import probe_video
from worker.picture_probe import probe_image
from pathlib import Path
samples = Path("api/samples")
print(probe_image(samples / "source.png", UNLIMITED).width, probe_video(samples / "driving.mp4", UNLIMITED).frames)
"""
    answer = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert answer.stdout.split() == ["256", "107"]


def test_the_readme_shows_the_tree_as_it_is() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    tree = re.search(r"```text\n(README\.md.*?)```", readme, re.DOTALL)
    assert tree, "the README has a block with the tree"
    shown = set(re.findall(r"[\w./-]+", tree[1]))
    top = {path.name for path in REPOSITORY.iterdir() if path.is_dir() and tracked(f"{path.name}/*")}
    assert {name for name in top if not name.startswith(".") and f"{name}/" not in shown} == set()
    packages = [REPOSITORY / name for name in ("api", "client", "commands", "worker", "worker/engine", "model")]
    modules = {path.name for path in tracked("*.py") if path.parent in packages}
    missing = {name for name in modules if name not in tree[1] and name != "__init__.py"}
    assert missing == set()


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for document in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
