"""The main road as people walk it: in a browser, with the whole service behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import wait_until
from tests.test_main_road import Service
from tests.web.conftest import OpenPage, assert_accessible, whole_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with whole_service(tmp_path_factory.mktemp("data")) as service:
        yield service


def time_of(page: Page, panel: str) -> float:
    return page.locator(f"#{panel}-panel video").evaluate("video => video.currentTime")


@pytest.mark.timeout(300)
def test_from_a_sample_to_its_result_and_its_end(service: Service, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(str(service.client.base_url))
    expect(page.locator("#model")).to_have_value("avatars-256")
    assert_accessible(page, "empty")

    page.locator("[data-sample=scarf]").click()
    expect(page.locator("#start")).to_be_focused()
    found = page.locator("#ahead[data-state=found]")
    expect(found).to_contain_text(re.compile("(Good|Fair|Poor) match"), timeout=120_000)
    expect(page.locator("#estimate")).to_have_text(re.compile("50 frames"))
    expect(page.locator("#source-panel .crop")).to_be_visible()
    expect(page.locator("#driving-panel .crop")).to_be_visible()
    expect(page.get_by_alt_text("Preview: one frame of the result")).to_be_visible()
    assert_accessible(page, "chosen")
    page.locator("summary").click()
    page.get_by_label("Keypoints").check()
    page.locator("#start").click()
    expect(page.locator("#stage-title")).to_have_text("Animating")
    expect(page.locator(".doing")).to_have_text(re.compile(r"\d+ of 50 frames"))
    assert_accessible(page, "running")

    # A reload finds what runs.
    page.goto(str(service.client.base_url))
    expect(page.locator("#stage-title")).to_have_text(re.compile("Animating|Your animation"))
    expect(page.locator("#stage-title")).to_have_text("Your animation", timeout=200_000)
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    wait_until(lambda: time_of(page, "result") > 0.3, "the result plays")
    page.get_by_role("button", name="Pause").click()
    page.locator("#scrub").fill("1.2")
    wait_until(lambda: abs(time_of(page, "result") - 1.2) < 0.05, "the result is there")
    wait_until(lambda: abs(time_of(page, "driving") - 1.2) < 0.05, "the driver is in step")
    assert_accessible(page, "done")
    page.get_by_role("button", name="Keypoints").click()
    # Two pictures beside each other have the whole row, at the same moment.
    expect(page.locator("#source-panel")).to_be_hidden()
    wait_until(lambda: abs(time_of(page, "result") - 1.2) < 0.05, "the view is at the same moment")
    assert "/views/keypoints?" in (page.get_by_role("link", name="Download").get_attribute("href") or "")
    page.get_by_role("button", name="Result", exact=True).click()
    expect(page.locator("#source-panel")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "result.mp4")
    animation = service.client.get("/animations").json()["data"][0]
    assert (tmp_path / "result.mp4").stat().st_size == animation["result"]["size_bytes"]
    assert download.value.suggested_filename == f"{animation['id']}.mp4"

    # Another browser, whose owner prefers calm, has the address only.
    other = open_page(page.url, motion="reduce")
    expect(other.locator("#result-panel video")).to_be_visible()
    expect(other.locator("#source-panel")).to_be_hidden()
    expect(other.get_by_role("button", name="Play")).to_be_visible()
    assert other.locator("#result-panel video").evaluate("video => video.paused")

    page.get_by_role("button", name="New animation").click()
    expect(page.locator("#stage-title")).to_have_text("New animation")
    page.reload()
    card = page.locator(f".cards [data-id={animation['id']}]")
    expect(card).to_contain_text("Ready")
    card.get_by_role("button", name=re.compile("Green scarf.*Ready")).click()
    expect(page.locator("#result-panel video")).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#gallery")).to_be_hidden()
    expect(page.locator("#stage-title")).to_have_text("New animation")
    assert service.client.get(animation["links"]["self"]).status_code in (404, 410)
    assert page.evaluate("localStorage.getItem('animato.animations')") == "[]"
