"""The page where something is amiss, on a service without a worker: what it says, and that nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.conftest import Service, running
from tests.conftest import REPOSITORY, wait_until
from tests.web.conftest import OpenPage, assert_accessible, find_chromium
from worker.api_keys import KeyStore
from worker.jobs import JobError
from worker.settings import Settings


@pytest.fixture(scope="module")
def api(redis_socket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = Settings(redis_url=f"unix://{redis_socket}?db=4010", data_dir=tmp_path_factory.mktemp("page"))
    with running(settings, housekeeping_interval_s=3600) as service:
        yield service


@pytest.fixture
def page(api: Service, open_page: OpenPage) -> Page:
    api.reset()
    return open_page(f"http://127.0.0.1:{api.port}/")


def choose_sample(page: Page) -> None:
    page.locator("[data-sample=scarf]").click()
    expect(page.locator("#start")).to_be_enabled()


def only_animation(api: Service) -> dict:
    listed = api.http.get("/animations").json()["data"]
    assert len(listed) == 1
    return listed[0]


def test_keyboard_only(api: Service, open_page: OpenPage) -> None:
    api.reset()
    page = open_page(f"http://127.0.0.1:{api.port}/")
    expect(page.locator("[data-sample=scarf]")).to_be_visible()

    def tab_to(selector: str, *, most: int = 40) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"{selector} is not reached")

    tab_to("[data-sample=scarf]")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_focused()
    part = page.get_by_label("Part of the picture", exact=True)
    expect(part).to_be_visible()
    page.locator(".skip").focus()
    tab_to("#source-panel select")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(part).to_have_value("by hand")
    page.keyboard.press("Shift+Tab")
    crop = page.locator("#source-panel .crop")
    expect(crop).to_be_focused()
    for press in ("-", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(press)
    expect(crop).to_have_attribute("aria-label", re.compile("250 pixels wide, 9 from the left, 6 from the top"))
    tab_to("#start")
    page.keyboard.press("Enter")
    expect(page.locator(".doing")).to_have_text(re.compile("Next in the queue"))
    assert only_animation(api)["options"]["source_crop"] == "9,6,250,250"
    assert_accessible(page, "waiting")

    page.reload()
    expect(page.locator(".doing")).to_have_text(re.compile("Next in the queue"))
    page.locator(".skip").focus()
    tab_to("#cancel")
    page.keyboard.press("Enter")
    expect(page.locator("#stage-title")).to_have_text("Canceled")
    assert only_animation(api)["status"] == "canceled"


def test_a_file_that_cannot_be_used_is_explained(page: Page) -> None:
    choose_sample(page)
    page.locator("#source-panel input[type=file]").set_input_files(REPOSITORY / "README.md")
    expect(page.locator("#source-panel")).to_contain_text("This browser cannot show the picture")
    page.locator("#start").click()

    problem = page.get_by_role("alert").filter(has_text="unsupported_media_type")
    expect(problem).to_contain_text("The format of the file is not supported (the picture)")
    expect(problem).to_contain_text("Supported: image/avif")
    expect(page.locator("#source-panel")).to_have_class(re.compile("wrong"))
    assert_accessible(page, "refused")
    page.locator("[data-sample=glasses]").click()
    expect(problem).to_be_hidden()
    expect(page.locator("#start")).to_be_enabled()


def test_without_a_look_ahead_it_can_be_started_with_the_options_that_were_chosen(api: Service, page: Page) -> None:
    # There is no worker that could look.
    choose_sample(page)
    expect(page.locator("#ahead[data-state=away]")).to_contain_text("You can start all the same")
    page.locator("summary").click()
    page.get_by_label("Absolute").check()
    page.locator("#smoothing").fill("0.4")
    page.get_by_label("Back into the whole picture").check()
    page.get_by_label("Keep the sound of the video").uncheck()
    page.get_by_label("Part of the video", exact=True).select_option("none")
    expect(page.locator("#changed")).to_have_text("· 4 changes")
    page.locator("#start").click()
    expect(page.locator(".doing")).to_have_text(re.compile("Next in the queue"))
    animation = only_animation(api)
    assert animation["status"] == "queued"
    wanted = {"motion_transfer": "absolute", "smoothing": 0.4, "paste_back": True, "audio": False}
    assert {name: animation["options"][name] for name in wanted} == wanted
    assert (animation["options"]["source_crop"], animation["options"]["driving_crop"]) == ("auto", "none")


def test_files_can_be_dropped_wherever(page: Page) -> None:
    page.evaluate(
        """async () => {
            const dropped = new DataTransfer();
            for (const [name, type] of [["scarf-driving.mp4", "video/mp4"], ["scarf.png", "image/png"]]) {
                const content = await (await fetch(`samples/${name}`)).blob();
                dropped.items.add(new File([content], name, {type}));
            }
            const event = new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true});
            document.querySelector("#source-frame").dispatchEvent(event);
        }"""
    )
    expect(page.get_by_alt_text("The picture: scarf.png")).to_be_visible()
    expect(page.locator("#driving-panel video")).to_be_visible()
    expect(page.locator("#start")).to_be_enabled()


def test_one_that_fails_tells_why(api: Service, page: Page) -> None:
    # Events do not come through: it asks again and again.
    page.route("**/events", lambda route: route.abort())
    choose_sample(page)
    page.locator("#start").click()
    expect(page.locator("#cancel")).to_be_visible()
    expect(page).to_have_url(re.compile("#anm_"))
    job_id = only_animation(api)["id"]
    claim = api.job_store.claim(job_id, "a worker")
    assert claim
    expect(page.locator("#stage-title")).to_have_text("Animating")
    error = JobError(code="out_of_memory", detail="Even one frame did not fit.", hint="Try a smaller size.")
    api.job_store.fail(job_id, claim.fence, error, attempt=1)

    problem = page.get_by_role("alert").filter(has_text="out_of_memory")
    expect(problem).to_contain_text("The device has too little memory")
    expect(problem).to_contain_text("Try a smaller size.")
    assert_accessible(page, "failed")
    problem.get_by_role("button", name="Back to the files").click()
    expect(page.locator("#start")).to_be_enabled()


def test_a_lost_connection_loses_nothing(api: Service, page: Page) -> None:
    choose_sample(page)
    expect(page.locator("#ahead[data-state=away]")).to_be_visible()
    page.context.set_offline(True)
    page.locator("#start").click()
    problem = page.get_by_role("alert").filter(has_text="No connection to the service")
    expect(problem).to_be_visible()
    page.context.set_offline(False)
    problem.get_by_role("button", name="Try again").click()
    expect(page.locator(".doing")).to_have_text(re.compile("Next in the queue"))
    job_id = only_animation(api)["id"]

    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    claim = api.job_store.claim(job_id, "a worker")
    assert claim
    page.context.set_offline(False)
    expect(page.locator("#stage-title")).to_have_text("Animating")
    expect(page.locator("#offline")).to_be_hidden()


def test_a_question_that_was_lost_before_says_nothing_of_now(api: Service, page: Page) -> None:
    choose_sample(page)
    page.locator("#start").click()
    expect(page.locator(".doing")).to_have_text(re.compile("Next in the queue"))
    one = re.compile(r"/animations/anm_[0-9a-z]+$")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with page.expect_request(one):  # for its place in the queue
        page.route(one, hold)
    claim = api.job_store.claim(only_animation(api)["id"], "a worker")
    assert claim
    expect(page.locator("#stage-title")).to_have_text("Animating")
    with page.expect_event("requestfailed"):
        held[0].abort()
    page.evaluate("fetch('healthz')")  # what the page does about it is done when this is
    expect(page.locator("#offline")).to_be_hidden()


def test_an_answer_that_was_lost_makes_no_second_animation(api: Service, page: Page) -> None:
    choose_sample(page)
    lost: list[str] = []

    def lose(route) -> None:
        if not lost:
            # The service hears it, and the browser never hears the answer.
            lost.append(route.fetch().json()["id"])
            route.abort()
        else:
            route.continue_()

    page.route("**/animations", lose)
    page.locator("#start").click()
    page.get_by_role("button", name="Try again").click()
    expect(page).to_have_url(re.compile("#anm_"))
    assert only_animation(api)["id"] == lost[0]


def test_a_service_with_keys_asks_for_one(api: Service, page: Page) -> None:
    keys = KeyStore.connect(api.settings)
    text, key = keys.create("me")
    try:
        page.reload()
        field = page.get_by_label("API key", exact=True).and_(page.locator("input"))
        expect(field).to_be_focused()
        assert_accessible(page, "key wanted")
        field.fill("ank_wrong")
        field.press("Enter")
        expect(page.locator("#key-refused")).to_contain_text("not valid")
        field.fill(text)
        field.press("Enter")
        expect(page.locator("#model")).to_have_value("avatars-256")
        choose_sample(page)
        page.locator("#start").click()
        expect(page.locator(".doing")).to_have_text(re.compile("Next in the queue"))
        page.reload()
        expect(page.locator(".doing")).to_have_text(re.compile("Next in the queue"))
        expect(page.locator("#key-form")).to_be_hidden()
        stored = page.evaluate("[Object.keys(sessionStorage), JSON.stringify(localStorage)]")
        assert stored[0] == ["animato.key"]
        assert text not in stored[1]
    finally:
        keys.revoke(key.id)
        keys.close()
    wait_until(lambda: api.http.get("/models").status_code == 200, "the key is revoked")


def test_a_recording_becomes_the_driver(page: Page) -> None:
    page.get_by_role("button", name="Record yourself").click()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#recorder [role=status]")).to_have_text(re.compile(r"Recording · 0:0[1-9]"))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Use this")).to_be_focused()
    assert_accessible(page, "recorded")
    page.get_by_role("button", name="Use this").click()
    expect(page.locator("#driving-panel video")).to_be_visible()
    expect(page.locator("#driving-panel")).to_contain_text("kB")


def test_a_narrow_screen_needs_no_sideways_scrolling(api: Service, open_page: OpenPage) -> None:
    page = open_page(f"http://127.0.0.1:{api.port}/", width=390, height=844)
    choose_sample(page)
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_missing_browser_fails_where_it_must_exist(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception):
        find_chromium(str(tmp_path), must_exist=True)
    with pytest.raises(pytest.skip.Exception):
        find_chromium(str(tmp_path), must_exist=False)
