"""What can be chosen on the page beyond the main road, with the whole service behind it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import REPOSITORY
from tests.test_main_road import SAMPLES, Service
from tests.web.conftest import OpenPage, assert_accessible, whole_service
from worker import media, pictures
from worker.settings import UNLIMITED

FRAMES = 6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with whole_service(tmp_path_factory.mktemp("data")) as service:
        yield service


@pytest.fixture(scope="module")
def clip(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of `FRAMES` frames, with sound."""
    path = tmp_path_factory.mktemp("clip") / "talk.mp4"
    first_THWC = next(
        iter(media.read_frames(short_clip, media.probe_video(short_clip, UNLIMITED), batch_frames=FRAMES))
    )
    media.write_video(path, [first_THWC], fps=Fraction(25), width=256, height=256, audio_from=short_clip)
    return path


def choose(page: Page, kind: str, path: Path) -> None:
    page.locator(f"#{kind}-panel input[type=file]").set_input_files(path)


def animate(page: Page, service: Service) -> dict:
    """Start it, wait for the result; the animation."""
    page.locator("#start").click()
    expect(page.locator("#stage-title")).to_have_text("Your animation", timeout=200_000)
    return service.client.get("/animations").json()["data"][0]


def download(page: Page, path: Path) -> str:
    """The result at `path`; how the browser would call it."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(path)
    return Path(download.value.suggested_filename).suffix


@pytest.mark.timeout(400)
def test_a_motion_is_kept_and_moves_pictures_in_several_formats(
    service: Service, open_page: OpenPage, clip: Path, tmp_path: Path
) -> None:
    page = open_page(str(service.client.base_url))
    choose(page, "driving", clip)
    page.get_by_role("button", name="Keep this motion").click()
    expect(page.locator("#kept-state")).to_have_text(re.compile("Kept"), timeout=100_000)
    (motion,) = service.client.get("/motions").json()["data"]
    assert motion["result"]["frames"] == FRAMES
    card = page.locator(f"#motions [data-id={motion['id']}]")
    expect(card).to_contain_text("talk")
    card.get_by_role("button", name="talk").first.click()
    expect(page.locator("#driving-panel")).to_contain_text(f"Kept motion · {FRAMES} frames · 1 s · with sound")
    expect(page.locator("#driving-panel video")).to_be_visible()
    expect(page.locator("#driving-panel .crop")).to_be_hidden()
    expect(page.get_by_role("button", name="Keep this motion")).to_be_hidden()

    # A size that cannot be is said at once; the views that would show the video cannot be had.
    choose(page, "source", SAMPLES / "scarf.png")
    page.locator("summary").click()
    expect(page.get_by_label("Keypoints")).to_be_disabled()
    expect(page.get_by_label("Flow")).to_be_enabled()
    page.get_by_label("Size", exact=True).fill("63")
    page.locator("summary").click()
    page.locator("#start").click()
    expect(page.get_by_label("Size", exact=True)).to_be_focused()
    expect(page.get_by_label("Size", exact=True)).to_have_attribute("aria-invalid", "true")
    assert_accessible(page, "a kept motion, and a wrong size")
    page.get_by_label("Size", exact=True).fill("64")
    page.get_by_label("Format").select_option("gif")
    expect(page.locator("#ahead[data-state=found]")).to_contain_text("GIF holds no sound", timeout=120_000)
    animation = animate(page, service)
    assert (animation["input"]["motion"], animation["options"]["size"]) == (motion["id"], 64)
    assert animation["options"]["driving_crop"] == "auto"
    picture = page.get_by_alt_text("Result of the animation")
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 64
    assert page.get_by_role("link", name="Download").get_attribute("href")
    assert download(page, tmp_path / "result") == ".gif"
    assert (tmp_path / "result").read_bytes()[:6] == b"GIF89a"
    expect(page.locator("#driving-panel video")).to_be_visible()

    # The square of the picture is dragged with the mouse, and resized at a corner.
    page.get_by_role("button", name="New animation").click()
    expect(page.locator("#driving-panel")).to_contain_text("Kept motion")
    crop = page.locator("#source-panel .crop")
    expect(crop).to_be_visible(timeout=120_000)
    drag(page, crop.locator(".nw"), by=(60, 60))
    drag(page, crop, by=(-30, 10))
    expect(page.get_by_label("Part of the picture", exact=True)).to_have_value("by hand")
    side, left, top = map(int, re.findall(r"\d+", crop.get_attribute("aria-label") or ""))
    page.get_by_label("Format").select_option("webp")
    animation = animate(page, service)
    assert animation["options"]["source_crop"] == f"{left},{top},{side},{side}"
    frame_px = page.locator("#source-frame").evaluate("frame => frame.clientWidth")
    scale = 256 / frame_px
    assert side == pytest.approx(256 - 60 * scale, abs=3)
    assert left == pytest.approx((60 - 30) * scale, abs=3)
    assert top == pytest.approx((60 + 10) * scale, abs=3)
    expect(picture).to_be_visible()
    assert download(page, tmp_path / "result") == ".webp"

    page.get_by_role("button", name="New animation").click()
    page.get_by_label("Format").select_option("png")
    animate(page, service)
    expect(page.locator("#result-panel")).to_contain_text(f"{FRAMES} frames as PNG files in one zip")
    assert download(page, tmp_path / "result") == ".zip"
    assert len(zipfile.ZipFile(tmp_path / "result").namelist()) == FRAMES

    # Another browser has the motion, and not its video.
    other = open_page(str(service.client.base_url), width=390)
    other.locator(f"#motions [data-id={motion['id']}] .open").click()
    expect(other.locator("#driving-panel")).to_contain_text("Its video is not in this browser")
    assert_accessible(other, "a motion without its video")
    other.get_by_role("button", name="Replace").click()
    expect(other.get_by_role("button", name="Choose a video")).to_be_focused()
    other.get_by_role("button", name="Use a kept motion").click()
    other.keyboard.press("Enter")
    expect(other.locator("#driving-panel")).to_contain_text("Kept motion")

    # It is deleted while it is chosen.
    page.get_by_role("button", name="New animation").click()
    card.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete this motion?")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#motions")).to_be_hidden()
    expect(page.get_by_role("button", name="Choose a video")).to_be_visible()
    expect(page.locator("#start")).to_be_disabled()
    assert service.client.get(f"/motions/{motion['id']}").status_code in (404, 410)


def drag(page: Page, what: object, *, by: tuple[int, int]) -> None:
    """With the mouse, in steps, from the middle of an element."""
    box = what.bounding_box()  # pyright: ignore[reportAttributeAccessIssue]
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by[0], y + by[1], steps=5)
    page.mouse.up()


@pytest.mark.timeout(300)
def test_one_of_several_people_is_chosen(service: Service, open_page: OpenPage, clip: Path, tmp_path: Path) -> None:
    head_HWC = pictures.load_image(REPOSITORY / "tests" / "samples" / "source.png")
    picture_HWC = np.full((360, 830, 3), 120, np.uint8)
    for left, side in ((10, 320), (340, 260), (620, 200)):
        picture_HWC[20 : 20 + side, left : left + side] = pictures.resized(head_HWC, side, side)
    pictures.write_png(tmp_path / "three.png", picture_HWC)
    page = open_page(str(service.client.base_url))
    choose(page, "source", tmp_path / "three.png")
    choose(page, "driving", clip)
    faces = page.get_by_role("radiogroup", name="Whose face of the picture").get_by_role("radio")
    expect(faces).to_have_count(3, timeout=120_000)
    expect(faces.nth(0)).to_be_checked()
    crop = page.locator("#source-panel .crop")
    expect(crop).to_have_attribute("aria-label", re.compile(r" -?\d\d? from the left"))
    # In the picture with the mouse; below it with the keyboard.
    page.locator("#source-panel .subject", has_text="2").click()
    expect(faces.nth(1)).to_be_checked(timeout=120_000)
    expect(crop).to_have_attribute("aria-label", re.compile(r" 3[2-9]\d from the left"))
    faces.nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(crop).to_have_attribute("aria-label", re.compile(r" 6\d\d from the left"), timeout=120_000)
    expect(faces.nth(2)).to_be_focused()
    assert_accessible(page, "several people")
    page.locator("summary").click()
    page.get_by_label("Size", exact=True).fill("64")
    animation = animate(page, service)
    assert animation["options"]["subject"] == 2
    left = int(animation["result"]["source_crop"].split(",")[0])
    assert 590 < left < 700
