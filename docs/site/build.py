"""From the documents of the repository to a folder of HTML, or a complaint.

    documents ─► staged pages (links, equations, lists, API reference) ─► zensical --strict ─► HTML ─► checked

Nothing is fetched, and nothing that a page needs lies elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docs.site.errors import DocumentError
from docs.site.html_check import check_site
from docs.site.links import Links
from docs.site.markdown import map_prose, with_equations, with_indented_lists
from docs.site.openapi_page import api_reference, openapi_document
from docs.site.pages import API_REFERENCE, Page, find_pages

HERE = Path(__file__).parent
REFERENCE_GOES_HERE = "<!-- the reference is generated here -->"
_PLAIN_TEXT = {"NOTICE", "LICENSE"}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NOT_IN_THE_QUICK_START = {"The tree", "Licence"}
"""Sections of the README that other pages have."""


def build(repository: Path, output: Path) -> int:
    """Build the site of `repository` in `output` / "site"; return how many pages it has.

    Raises:
        DocumentError: A document, or what became of it, has something wrong.
    """
    sections = find_pages(repository)
    pages = [page for _, found in sections for page in found]
    shutil.rmtree(output, ignore_errors=True)
    staged = output / "pages"
    staged.mkdir(parents=True)
    document = openapi_document()
    links = Links(repository=repository, published={page.source: page.published for page in pages})
    written = {page.published: read_page(repository, page, document) for page in pages}
    for page in pages:
        text = map_prose(written[page.published], lambda line, source=page.source: links.rewrite(line, source))
        place = staged / page.published
        place.parent.mkdir(exist_ok=True)
        place.write_text(with_indented_lists(with_equations(text)), encoding="utf-8")
    for source, there in links.pictures.items():
        (staged / there).parent.mkdir(exist_ok=True)
        shutil.copyfile(repository / source, staged / there)
    (staged / "openapi.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    shutil.copyfile(HERE / "style.css", staged / "style.css")
    config = (HERE / "zensical.toml").read_text(encoding="utf-8")
    (output / "zensical.toml").write_text(
        config.replace("nav = []", f"nav = {_navigation(sections)}"), encoding="utf-8"
    )
    _generate(output)
    check_site(output / "site", {_html(name): text for name, text in written.items()})
    return len(pages)


def read_page(repository: Path, page: Page, document: dict[str, Any]) -> str:
    """Return the Markdown of a page, its links as for a reader of the repository."""
    text = (repository / page.source).read_text(encoding="utf-8")
    if page.source in _PLAIN_TEXT:
        return f"# {page.title}\n\n```text\n{text.strip()}\n```\n"
    if page.source == "README.md":
        return _quick_start(text)
    if page.source == API_REFERENCE:
        if REFERENCE_GOES_HERE not in text:
            raise DocumentError(f"{API_REFERENCE} lacks the line {REFERENCE_GOES_HERE}")
        return text.replace(REFERENCE_GOES_HERE, api_reference(document))
    return text


def _quick_start(readme: str) -> str:
    """The README from its first section on: the home page says what stands before, other pages show the tree."""
    _, *sections = re.split(r"^## ", readme, flags=re.MULTILINE)
    kept = [section for section in sections if section.split("\n", 1)[0] not in _NOT_IN_THE_QUICK_START]
    if len(sections) - len(kept) != len(_NOT_IN_THE_QUICK_START):
        raise DocumentError(f"README.md lacks one of the sections {sorted(_NOT_IN_THE_QUICK_START)}")
    return "# Quick start\n\n" + "".join(f"## {section}" for section in kept)


def _navigation(sections: list[tuple[str, list[Page]]]) -> str:
    """The navigation as TOML has it; strings and lists are those of JSON."""

    def entry(name: str, value: str) -> str:
        return f"{{ {json.dumps(name)} = {value} }}"

    return _list(
        entry(section, _list(entry(page.title, json.dumps(page.published)) for page in pages))
        for section, pages in sections
    )


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(values)}]"


def _generate(output: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=output,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    # Its trace back says nothing more.
    said = _ANSI.sub("", done.stdout).split("Traceback (most recent call last)")[0].strip()
    if done.returncode or "warning" in said.lower():
        raise DocumentError(f"zensical refuses:\n{said}")


def _html(published: str) -> str:
    return str(Path(published).with_suffix(".html"))
