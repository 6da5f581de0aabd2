"""Which files are pages, where each lies in the site, and the way through them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docs.site.errors import DocumentError

HOME = "docs/index.md"
API_REFERENCE = "docs/api-reference.md"

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Start", (HOME, "README.md", "docs/tutorial.md", "docs/motion.md", "docs/client.md", "docs/responsible-use.md")),
    ("Service", ("docs/api.md", API_REFERENCE, "docs/operations.md", "docs/security.md", "docs/speed.md")),
    (
        "Training",
        ("docs/data.md", "docs/training.md", "docs/evaluation.md", "docs/avatars.md", "model/bundles/*/README.md"),
    ),
    ("Inside", ("docs/architecture.md", "docs/model.md", "docs/log.md")),
    ("Decisions", ("docs/decisions/*.md",)),
    ("Project", ("CHANGELOG.md", "CONTRIBUTING.md", "docs/licences.md", "NOTICE", "LICENSE")),
)
"""The navigation: files, or patterns of them, in order."""

SHORT_TITLES = {
    HOME: "Overview",
    "README.md": "Quick start",
    "docs/tutorial.md": "Your own category",
    "docs/motion.md": "Crop, frame, views",
    "docs/client.md": "Client",
    "docs/api.md": "HTTP interface",
    "docs/security.md": "Security",
    "docs/avatars.md": "Avatars",
    "docs/model.md": "Paper and code",
    "docs/licences.md": "Dependencies",
    "NOTICE": "Notice",
    "LICENSE": "Licence",
}
"""Where the heading of a page is too long for the navigation, or is none."""

ALIASES = {"SECURITY.md": "docs/security.md"}
"""Files that only point to a page."""

_PUBLISHED = {
    HOME: "index.md",
    "README.md": "quick-start.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "NOTICE": "notice.md",
    "LICENSE": "licence.md",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A file of the repository that is a page of the site."""

    source: str
    """Path in the repository."""
    published: str
    """Path of its Markdown in the site."""
    title: str
    """In the navigation."""


def find_pages(repository: Path) -> list[tuple[str, list[Page]]]:
    """Return the sections with their pages; every document under `docs` must be in one."""
    sections = [
        (section, [_page(repository, source) for pattern in patterns for source in _matching(repository, pattern)])
        for section, patterns in SECTIONS
    ]
    reachable = {page.source for _, pages in sections for page in pages}
    for path in sorted((repository / "docs").rglob("*.md")):
        source = path.relative_to(repository).as_posix()
        if source not in reachable:
            raise DocumentError(f"{source} is in no section of docs/site/pages.py: nobody would find it")
    return sections


def _matching(repository: Path, pattern: str) -> list[str]:
    found = sorted(path.relative_to(repository).as_posix() for path in repository.glob(pattern))
    if not found:
        raise DocumentError(f"docs/site/pages.py names {pattern}, which is not there")
    return found


def _page(repository: Path, source: str) -> Page:
    title = SHORT_TITLES.get(source) or _heading(repository, source)
    return Page(source=source, published=_published(source), title=title)


def _published(source: str) -> str:
    if source in _PUBLISHED:
        return _PUBLISHED[source]
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    return f"models/{Path(source).parent.name}.md"


def _heading(repository: Path, source: str) -> str:
    first = (repository / source).read_text(encoding="utf-8").split("\n", 1)[0]
    if not first.startswith("# "):
        raise DocumentError(f"{source} does not begin with its heading")
    return first.removeprefix("# ").replace("`", "")
