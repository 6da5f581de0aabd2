"""What became of the pages: every link leads somewhere, nothing comes from elsewhere, nothing was lost on the way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt

from docs.site.errors import DocumentError
from docs.site.markdown import lines_with_kind

_LOADED = {"src", "srcset", "poster", "data", "action"}
_COUNTED = ("h1", "h2", "h3", "h4", "li", "table", "tr", "pre", "img")
_REMOTE_STYLE = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import")


def check_site(site: Path, documents: Mapping[str, str]) -> None:
    """Look at every page of `site`; `documents` has the Markdown that each was made of.

    Raises:
        DocumentError: With everything that is wrong.
    """
    found = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    pages = {name: read_html(path.read_text(encoding="utf-8")) for name, path in found.items()}
    wrong = [f"{name} was not made" for name in documents if name not in pages]
    for name, page in sorted(pages.items()):
        wrong += [f"{name} loads {address} from elsewhere" for address in page.loaded if _is_remote(address)]
        dead = [address for address in page.addresses if not _leads(address, name, pages, site)]
        # The page of what is not found is shown at any address, so its links begin at the root.
        wrong += [f"{name}: {address} leads nowhere" for address in dead if name != "404.html"]
    for style in site.rglob("*.css"):
        if _REMOTE_STYLE.search(style.read_text(encoding="utf-8")):
            wrong.append(f"{style.relative_to(site)} loads something from elsewhere")
    for name, text in documents.items():
        if name in pages:
            wrong += [f"{name}: {difference}" for difference in _lost(text, pages[name])]
    if wrong:
        raise DocumentError("\n".join(wrong))


class Html(HTMLParser):
    """The parts of a page that are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.addresses: list[str] = []
        """Where its links lead."""
        self.loaded: list[str] = []
        """What a browser fetches to show it."""
        self.counts: Counter[str] = Counter()
        """Elements of the article."""
        self._article = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has."""
        known = {name: value or "" for name, value in attrs}
        self._article += tag == "article"
        if self._article:
            self.counts[tag] += 1
        if "id" in known:
            self.ids.add(known["id"])
        self.loaded += [value for name, value in known.items() if name in _LOADED]
        if tag == "link" and known.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(known.get("href", ""))
        if tag == "a" and "href" in known:
            self.addresses.append(known["href"])

    def handle_endtag(self, tag: str) -> None:
        """Leave the article."""
        self._article -= tag == "article"


def read_html(text: str) -> Html:
    """Return what a page has."""
    page = Html()
    page.feed(text)
    return page


def _is_remote(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def _leads(address: str, name: str, pages: Mapping[str, Html], site: Path) -> bool:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return True
    there = (site / name).parent / unquote(parts.path) if parts.path else site / name
    there = there.resolve()
    if not there.exists() or site.resolve() not in (there, *there.parents):
        return False
    page = pages.get((there / "index.html" if there.is_dir() else there).relative_to(site.resolve()).as_posix())
    return not parts.fragment or page is None or unquote(parts.fragment) in page.ids


def _lost(text: str, page: Html) -> list[str]:
    """Compare with what CommonMark makes of the document, which is what a reader of the repository sees."""
    kept: list[str] = []
    in_equation = False
    for line, code in lines_with_kind(text):
        in_equation = in_equation or line.strip() == "```math"
        if not in_equation:
            kept.append(line)
        in_equation = in_equation and not (code and line.strip() == "```")
    expected = read_html(
        f"<article>{MarkdownIt('commonmark').enable('table').render(chr(10).join(kept))}</article>"
    ).counts
    return [
        f"has {page.counts[tag]} <{tag}>, the document {expected[tag]}"
        for tag in _COUNTED
        if page.counts[tag] != expected[tag]
    ]
