"""How the page, its files and the sample pairs are served. (What they do: tests/web.)"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from api.web_files import WEB, WebFiles
from tests.api.conftest import Service, assert_problem
from worker.settings import Settings


def test_the_page_has_a_policy_of_its_own(service: Service) -> None:
    answer = service.http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'",) * 3
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_storage_that_sends_results_itself_is_in_the_policy(
    serve: object, s3_settings: Settings, settings: Settings
) -> None:
    there = s3_settings.model_copy(update={"redis_url": settings.redis_url, "data_dir": settings.data_dir})
    service: Service = serve(settings=there, result_redirect=True)  # pyright: ignore[reportCallIssue]
    policy = service.http.get("/").headers["content-security-policy"]
    assert f"media-src 'self' blob: {s3_settings.storage_endpoint_url};" in policy


def test_everything_the_page_names_exists_and_nothing_comes_from_elsewhere(service: Service) -> None:
    page = service.http.get("/").text
    named = set(re.findall(r'(?:href|src)="(web/[^"]+)"', page))
    assert {path.rpartition("/")[2] for path in named} == {"app.js", "style.css", "panels.css", "icon.svg"}
    waiting = list(named)
    seen = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = service.http.get(f"/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        waiting += [f"{path.rpartition('/')[0]}/{name}" for name in re.findall(r'from "\./([^"]+)"', answer.text)]
        hosts = set(re.findall(r"https?://([^/\"'\s]+)", answer.text)) - {"www.w3.org"}
        assert hosts == set(), path
    assert {path.rpartition("/")[2] for path in seen} == set(WebFiles().assets), "no file that nothing uses"


def test_the_scripts_are_small_files() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in WEB.iterdir()}
    assert [name for name, count in lines.items() if count > 300] == []


def test_what_has_not_changed_is_not_sent_again(service: Service) -> None:
    first = service.http.get("/", headers={"Accept-Encoding": "identity"})
    assert first.headers["cache-control"] == "no-cache"
    again = service.http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    with service.http.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(packed.iter_raw())) == first.content
    assert service.http.head("/").headers["etag"] == first.headers["etag"]


def test_a_changed_file_has_a_new_path(service: Service, tmp_path: Path) -> None:
    for path in WEB.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "words.js").write_text("// changed")
    changed, now = WebFiles(tmp_path), WebFiles()
    assert changed.version != now.version
    assert f"web/{changed.version}/app.js".encode() in changed.page.body
    # Of the page of another version it gets ours, but does not keep it.
    other = service.http.get(f"/web/{changed.version}/words.js")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("path", ["/web/0/none.js", "/web/0/index.html", "/web/0/..%2fapp.py", "/samples/pairs.json"])
def test_nothing_else_is_handed_out(service: Service, path: str) -> None:
    assert_problem(service.http.get(path), 404, "not_found")


def test_samples(service: Service) -> None:
    pairs = service.http.get("/samples").json()["data"]
    assert len(pairs) >= 3
    for pair in pairs:
        for part in ("source_image", "driving_video"):
            answer = service.http.get(pair[part]["url"])
            assert answer.headers["content-type"] == pair[part]["media_type"]
            assert len(answer.content) == pair[part]["size_bytes"]
    new_bytes = sum(pair[part]["size_bytes"] for pair in pairs[1:] for part in ("source_image", "driving_video"))
    assert new_bytes < 300_000
