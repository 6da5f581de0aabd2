"""The picture of the page in the README, from a real run: `python -m benchmarks.page_pictures [URL]`.

Starts `animato up`, has the first sample pair animated in Chromium, and stops at a moment of the clip. Or uses the
service at the URL that is given.
"""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.scratch import scratch_folder
from worker.embedded import Stack
from worker.settings import Settings

OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "pictures"
_MOMENT_S = 1.92
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def picture_of_a_run(page: Page, url: str) -> bytes:
    """Animate the first sample pair, stop at `_MOMENT_S`, and return a PNG of the stage."""
    page.goto(url)
    page.locator("[data-sample=bun]").click()
    page.locator("#start:focus").wait_for()
    page.locator("summary").click()
    for view in ("comparison", "keypoints", "flow", "occlusion"):
        page.locator(f"[name=views][value={view}]").check()
    page.locator("#start").click()
    page.locator("#outcome:not([hidden])").wait_for(timeout=900_000)
    page.locator("#play[aria-label=Pause]").click()
    page.locator("#scrub").fill(str(_MOMENT_S))
    page.wait_for_timeout(1500)
    return page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": 700})


def main() -> None:
    """Write `page.png`."""
    program = shutil.which("chromium") or "/usr/bin/chromium"
    with ExitStack() as stack:
        if len(sys.argv) > 1:
            url = sys.argv[1]
        else:
            folder = stack.enter_context(scratch_folder())
            url = stack.enter_context(Stack(Settings(data_dir=folder), host="127.0.0.1", port=0, say=print)).url
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=program, args=_FLAGS)
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        image = Image.open(io.BytesIO(picture_of_a_run(page, url))).convert("RGB")
    image.save(OUTPUT / "page.png", optimize=True)


if __name__ == "__main__":
    main()
