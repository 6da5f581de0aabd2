"""A browser that people have (Debian's Chromium, driven by Playwright), and a look at what it complains about."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import wait_until
from tests.test_main_road import Service, running
from worker.preflights import PreflightLine
from worker.settings import Settings

_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)
_EXPECTED = "Failed to load resource"
"""How a browser reports every answer that is an error, also one that a test wants."""
OpenPage = Callable[..., Page]


def find_chromium(search_path: str | None = None, *, must_exist: bool) -> str:
    """The program. Without it the test is skipped, or fails where it `must_exist`."""
    if found := shutil.which("chromium", path=search_path) or shutil.which("chromium-browser", path=search_path):
        return found
    reason = "no Chromium on this machine: apt-get install chromium"
    if must_exist:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one file of tests: while Playwright runs, no other event loop can run in this thread."""
    program = find_chromium(must_exist=bool(os.environ.get("CI")))
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """`open_page(url, width=...)`: a page of a browser without a past. What its console says fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_EXPECTED):
            complaints.append(message.text)

    def open_page(url: str, *, width: int = 1280, height: int = 900, motion: str = "no-preference") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            reduced_motion=motion,  # pyright: ignore[reportArgumentType]
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def assert_accessible(page: Page, state: str) -> None:
    """No violation of axe's rules, in the light and in the dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        # Colours fade into each other for a moment; a fade may also be cut short by the next one.
        page.evaluate(
            "Promise.allSettled(document.getAnimations().filter(a => a instanceof CSSTransition).map(a => a.finished))"
        )
        results = Axe().run(page)
        assert results.violations_count == 0, f"{state}, {scheme}: {results.generate_report()}"
    page.emulate_media(color_scheme="light")


@contextmanager
def whole_service(data_dir: Path) -> Iterator[Service]:
    """`animato up`, whose preflight lane lives. The look ahead may take long on a machine that does much else."""
    with running(data_dir, ANIMATO_BATCH_FRAMES="4", ANIMATO_PREFLIGHT_TIMEOUT_S="100") as service:
        line = PreflightLine.connect(Settings(redis_url=f"unix://{service.socket()}"))
        wait_until(lambda: line.length() is not None, "the preflight lane lives", timeout_s=90)
        line.close()
        yield service
