"""The documents: what the site is made of, what its build refuses, and that they name nothing that is not there.

The build itself is part of `make check`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.site.errors import DocumentError
from docs.site.html_check import check_site
from docs.site.links import Links
from docs.site.markdown import with_equations, with_indented_lists
from docs.site.openapi_page import api_reference, openapi_document
from docs.site.pages import find_pages
from tests.conftest import REPOSITORY
from tests.test_architecture import tracked


@pytest.fixture
def links() -> Links:
    published = {page.source: page.published for _, pages in find_pages(REPOSITORY) for page in pages}
    return Links(repository=REPOSITORY, published=published)


@pytest.mark.parametrize(
    ("source", "written", "in_the_site"),
    [
        ("docs/decisions/0001-doorbell-and-record.md", "../operations.md#containers", "../operations.md#containers"),
        ("docs/training.md", "../README.md#limits", "quick-start.md#limits"),
        ("README.md", "docs/api.md", "api.md"),
        ("README.md", "docs/pictures/page.png", "pictures/page.png"),
        ("docs/evaluation.md", "../NOTICE", "notice.md"),
        ("model/bundles/avatars-256/README.md", "../../../docs/training.md", "../training.md"),
    ],
)
def test_links_lead_to_the_same_in_the_site(links: Links, source: str, written: str, in_the_site: str) -> None:
    assert links.rewrite(f"[a]({written}), `[b]({written})`", source) == f"[a]({in_the_site}), `[b]({written})`"


@pytest.mark.parametrize("target", ["nowhere.md", "../docker/smoke.sh", "http://example.org", "pictures"])
def test_links_that_a_reader_could_not_follow_are_refused(links: Links, target: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(target)):
        links.rewrite(f"[a]({target})", "docs/api.md")


def test_what_belongs_to_an_item_of_a_list_still_does() -> None:
    written = "Two:\n- one\n  more\n\n  ```sh\n  - no item\n  ```\n  - below\n- two\n\nafter"
    expected = "Two:\n\n- one\n    more\n\n    ```sh\n    - no item\n    ```\n    - below\n- two\n\nafter"
    assert with_indented_lists(written) == expected


def test_equations_are_markup_and_code_is_not() -> None:
    text = with_equations("$`x_1`$\n\n```math\nz = \\frac{1}{2}\n```\n\n```sh\necho $`x`$\n```")
    assert text.count("<math") == 2
    assert "<mfrac>" in text
    assert text.endswith("```sh\necho $`x`$\n```")


def test_the_reference_has_every_operation_field_and_code() -> None:
    document = openapi_document()
    page = api_reference(document)
    assert page == api_reference(openapi_document())
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert f"### {method.upper()} {path}\n" in page
            assert all(f"`{parameter['name']}`" in page for parameter in operation.get("parameters", ()))
    for name, schema in document["components"]["schemas"].items():
        section = page.split(f"### {name}\n")[1].split("\n### ")[0]
        assert [field for field in schema.get("properties", ()) if f"| `{field}` |" not in section] == []
    assert {"`queue_full`", "`webhook_url`", "`source_url`"} <= set(re.findall(r"`\w+`", page))


def test_a_page_that_loads_loses_or_misses_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text('<h1 id="top">There</h1>')
    page = "<article><h1>Title</h1>{}</article>"
    (tmp_path / "index.html").write_text(page.format('<a href="there.html#top">a</a><ul><li>one</ul>'))
    check_site(tmp_path, {"index.html": "# Title\n\n- one"})
    for broken in (
        '<ul><li>one</ul><a href="there.html#bottom">a</a>',
        '<ul><li>one</ul><a href="not-there.html">a</a>',
        '<ul><li>one</ul><script src="https://cdn.example.org/x.js"></script>',
        '<ul><li>one</ul><link rel="stylesheet" href="//cdn.example.org/x.css">',
        "<p>- one",
    ):
        (tmp_path / "index.html").write_text(page.format(broken))
        with pytest.raises(DocumentError):
            check_site(tmp_path, {"index.html": "# Title\n\n- one"})


def test_what_the_documents_name_is_there() -> None:
    """Files that a document names as code, in full or by their end, and tests; the log tells of the past."""
    tests = {name for path in tracked("tests/*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())}
    files = [path.relative_to(REPOSITORY).as_posix() for path in tracked("*")]
    missing = {}
    for document in tracked("*.md"):
        if document.name in ("log.md", "CHANGELOG.md"):
            continue
        named = set(re.findall(r"`([\w-]+(?:/[\w.-]+)+\.(?:py|lua|sh|yml|toml|md))`", document.read_text()))
        gone = [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]
        gone += set(re.findall(r"`(test_\w+)`", document.read_text())) - tests
        if gone:
            missing[document.name] = gone
    assert missing == {}


def test_what_the_page_of_the_model_names_is_in_the_code() -> None:
    page = (REPOSITORY / "docs" / "model.md").read_text()
    named = set(re.findall(r"(?<!\$)`((?:[A-Z][a-z]+){2,}(?:\.\w+)?|[a-z]+(?:_[a-z]+)+)`", page))
    code = " ".join(path.read_text() for path in tracked("model/*.py"))
    words = set(re.findall(r"\w+", code))
    assert len(named) > 20, "the pattern fits the page no more"
    assert {name for name in named if not set(name.split(".")) <= words} == set()
