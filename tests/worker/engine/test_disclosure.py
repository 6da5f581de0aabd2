"""How results tell what they are: the label in every format and view, forced or asked for, and what files say."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageFont

from model.inference.animator import Animator
from tests.worker.engine.copying_animator import CopyingAnimator
from worker import media
from worker.catalog import find_model
from worker.engine.animation import AnimationReport, animate_video
from worker.engine.disclosure import Disclosure, check_label
from worker.engine.label import Label, LabelStyle
from worker.engine.preflight import look_ahead
from worker.jobs import AnimationOptions
from worker.result_formats import RESULT_FORMATS, VIEW_NAMES, FormatName
from worker.settings import UNLIMITED, Settings

ANIMATED = LabelStyle("animated")
MODEL = find_model("avatars-256", ())


def luminance(level: float) -> float:
    """Of a grey of this level of 255, as WCAG 2 defines it."""
    share = level / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


@pytest.mark.parametrize("side", [64, 256, 720])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_letters_have_contrast_on_any_ground(side: int, level: int) -> None:
    ground_HWC = np.full((side, side, 3), level, np.uint8)
    label = Label(ANIMATED, side, side)
    marked_HWC = label(ground_HWC)
    shown_HW = marked_HWC[label.place][..., 0].astype(int)
    letters, plate = shown_HW.max(), np.median(shown_HW)
    assert (luminance(letters) + 0.05) / (luminance(plate) + 0.05) >= 4.5
    height, width = shown_HW.shape
    assert 10 <= height <= max(18, 0.1 * side), "legible, and no larger than it must be"
    assert width <= max(56, 0.3 * side)
    outside = np.ones((side, side), bool)
    outside[label.place] = False
    assert np.array_equal(marked_HWC[outside], ground_HWC[outside]), "the rest of the frame is untouched"
    assert (ground_HWC == level).all(), "and so is the frame that was given"


def test_a_long_text_stays_inside(tmp_path: Path) -> None:
    label = Label(LabelStyle("artificial animation by Animato"), 128, 64)
    assert label.place[1].stop < 128
    assert label.place[1].start > 0


def animated(source: Path, clip: Path, output: Path, animator: object, settings: Settings, **options: object):
    wanted = AnimationOptions.model_validate({"driving_crop": "none", "source_crop": "none", **options})
    report: AnimationReport = animate_video(
        source,
        clip,
        media.probe_video(clip, UNLIMITED),
        output,
        animator,  # pyright: ignore[reportArgumentType]
        wanted,
        limits=UNLIMITED,
        batch_frames=8,
        disclosure=Disclosure.of(settings, wanted, MODEL),
    )
    return report


def first_frame(path: Path) -> np.ndarray:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return np.asarray(Image.open(io.BytesIO(archive.read("000000.png"))).convert("RGB")).astype(int)
    facts = media.probe_video(path, UNLIMITED)
    return next(iter(media.read_frames(path, facts, batch_frames=16)))[0].astype(int)


def assert_labelled(marked: Path, bare: Path) -> None:
    """The two differ as the label does, and hardly elsewhere."""
    with_label, without = first_frame(marked), first_frame(bare)
    height, width = without.shape[:2]
    label = Label(ANIMATED, width, height)
    wanted = label(without.astype(np.uint8)).astype(int)
    assert np.abs(without - wanted)[label.place].mean() > 30
    assert np.abs(with_label - wanted)[label.place].mean() < 12
    outside = np.ones((height, width), bool)
    outside[label.place] = False
    assert np.abs(with_label - without)[outside].mean() < 3


@pytest.mark.parametrize("name", get_args(FormatName))
def test_every_format_has_it(source: Path, short_clip: Path, tmp_path: Path, name: FormatName) -> None:
    bare, marked = (tmp_path / f"{stem}{RESULT_FORMATS[name].suffix}" for stem in ("bare", "marked"))
    animated(source, short_clip, bare, CopyingAnimator(), Settings(), format=name, audio=False)
    report = animated(source, short_clip, marked, CopyingAnimator(), Settings(), format=name, audio=False, mark="label")
    assert report.warnings == ()
    assert_labelled(marked, bare)


def test_every_view_has_it_and_says_what_it_is_made_of(
    source: Path, short_clip: Path, animator: Animator, tmp_path: Path
) -> None:
    bare, marked = tmp_path / "bare.mp4", tmp_path / "marked.mp4"
    for path, settings in ((bare, Settings(provenance=False)), (marked, Settings(mark="always"))):
        report = animated(
            source, short_clip, path, animator, settings, views=",".join(VIEW_NAMES), paste_back=True, audio=False
        )
    assert report.warnings == ("This installation marks every result with a label.",)
    assert_labelled(marked, bare)
    for name in VIEW_NAMES:
        view = marked.with_suffix(f".{name}.mp4")
        assert_labelled(view, bare.with_suffix(f".{name}.mp4"))
        drawn_alone = name in ("flow", "occlusion")
        assert (b"compositeWithTrainedAlgorithmicMedia" in view.read_bytes()) != drawn_alone
        assert b"rainedAlgorithmicMedia" in view.read_bytes()
        assert b"Animato" not in bare.with_suffix(f".{name}.mp4").read_bytes()
    # Around the square the picture is as it was given.
    assert b"compositeWithTrainedAlgorithmicMedia" in marked.read_bytes()
    assert MODEL.bundle_sha256.encode() in marked.read_bytes()
    assert b"Animato" not in bare.read_bytes()


def test_the_look_ahead_is_no_way_around_it(source: Path, short_clip: Path) -> None:
    def preview(settings: Settings) -> tuple[np.ndarray, dict, tuple[str, ...]]:
        options = AnimationOptions(driving_crop="none", source_crop="none")
        found = look_ahead(
            source,
            short_clip,
            media.probe_video(short_clip, UNLIMITED),
            CopyingAnimator(),  # pyright: ignore[reportArgumentType]
            options,
            limits=UNLIMITED,
            batch_frames=8,
            disclosure=Disclosure.of(settings, options, MODEL),
        )
        image = Image.open(io.BytesIO(base64.b64decode(found.preview.data)))
        return np.asarray(image), image.info, found.warnings

    bare, text, _ = preview(Settings())
    marked, _, warnings = preview(Settings(mark="always", provenance=False))
    assert np.array_equal(marked, Label(ANIMATED, 64, 64)(bare))
    assert "This installation marks every result with a label." in warnings
    assert b"trainedAlgorithmicMedia" in text["xmp"]


def test_letters_that_the_font_lacks_are_told_at_the_start(tmp_path: Path) -> None:
    check_label(Settings(mark_text="AI generated"))
    with pytest.raises(ValueError, match=r"ANIMATO_MARK_TEXT cannot be drawn: .* no 成 生"):
        check_label(Settings(mark_text="AI 生成"))
    built_in = ImageFont.load_default(10)
    assert isinstance(built_in, ImageFont.FreeTypeFont)
    own = tmp_path / "own.ttf"
    own.write_bytes(built_in.font_bytes)
    check_label(Settings(mark_text="animated", mark_font=str(own)))
    with pytest.raises(ValueError, match="cannot be read"):
        check_label(Settings(mark_font=str(tmp_path / "none.ttf")))
    for text in ("", " ", "two\nlines", "x" * 33):
        with pytest.raises(ValueError, match="mark_text"):
            Settings(mark_text=text)
