"""Motion templates: the same animation as from the clip, and no trust in a file."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from model.inference.animator import Animator
from worker import media, pictures
from worker.catalog import ModelFacts, find_model
from worker.engine.animation import AnimationReport, animate_video
from worker.engine.driver import Driver, driver_of, extract_motion, unpacked_sound
from worker.engine.motion_template import read_template
from worker.engine.preflight import look_ahead
from worker.errors import MotionRejected
from worker.jobs import AnimationOptions, VideoFacts
from worker.settings import UNLIMITED

OPTIONS = AnimationOptions(smoothing=0.4, driving_crop="20,10,200,200")


@pytest.fixture(scope="module")
def model() -> ModelFacts:
    return find_model("avatars-256", ())


@pytest.fixture(scope="module")
def template(short_clip: Path, animator: Animator, model: ModelFacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("motion") / "talk.safetensors"
    facts = media.probe_video(short_clip, UNLIMITED)
    extract_motion(short_clip, facts, path, animator, model, OPTIONS, limits=UNLIMITED, batch_frames=8)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    return path


def test_the_animation_is_that_of_the_clip(
    source: Path, short_clip: Path, template: Path, animator: Animator, model: ModelFacts, tmp_path: Path
) -> None:
    def animated(name: str, clip: Path, facts: VideoFacts, driver: Driver | None) -> AnimationReport:
        (tmp_path / name).mkdir()
        return animate_video(
            source,
            clip,
            facts,
            tmp_path / name,
            animator,
            OPTIONS,
            limits=UNLIMITED,
            batch_frames=8,
            driver=driver,
        )

    read = read_template(template, model)
    sound = unpacked_sound(read, tmp_path / "motion")
    reports = (
        animated("clip", short_clip, media.probe_video(short_clip, UNLIMITED), None),
        animated("template", sound, read.header.driving, driver_of(read)),
    )
    assert reports[0] == reports[1]
    frames = [
        [pictures.load_image(path) for path in sorted((tmp_path / name).glob("*.png"))] for name in ("clip", "template")
    ]
    assert len(frames[0]) == 16
    assert np.array_equal(np.stack(frames[0]), np.stack(frames[1]))

    # The sound too: as long as the picture, and as loud.
    one_frame = [frames[0][0]] * 16
    videos = [tmp_path / f"{name}.mp4" for name in ("by-clip", "by-template")]
    written = [
        media.write_video(video, one_frame, fps=Fraction(25), width=256, height=256, audio_from=audio)
        for video, audio in zip(videos, (short_clip, sound), strict=True)
    ]
    assert [one.has_audio for one in written] == [True, True]


def test_a_look_ahead_is_that_of_the_clip(
    source: Path, short_clip: Path, template: Path, animator: Animator, model: ModelFacts
) -> None:
    read = read_template(template, model)
    by_clip, by_template = (
        look_ahead(
            source,
            clip,
            media.probe_video(short_clip, UNLIMITED),
            animator,
            OPTIONS,
            limits=UNLIMITED,
            batch_frames=8,
            driver=driver,
        )
        for clip, driver in ((short_clip, None), (Path("none"), driver_of(read)))
    )
    for name in ("reference_frame", "mismatch", "source", "warnings", "preview"):
        assert getattr(by_clip, name) == getattr(by_template, name)
    assert by_template.driving == by_clip.driving.model_copy(update={"subjects": ()}), "nobody was looked for again"


def changed(path: Path, template: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Path:
    """A copy of the template with other tensors or another header."""
    tensors = load_file(template)
    with safe_open(template, framework="np") as file:
        header = json.loads(file.metadata()["animato"])
    change(tensors, header)
    save_file(tensors, path, metadata={"animato": json.dumps(header)})
    return path


def put(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda _tensors, header: header.update({name: value})


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("motion_version_unsupported", put("format_version", 2)),
        ("motion_other_model", put("bundle_sha256", "0" * 64)),
        ("motion_damaged", put("format", "something-else")),
        ("motion_damaged", put("surplus", 1)),
        ("motion_damaged", put("crop", [0, 0, 0])),
        ("motion_damaged", lambda _tensors, header: header["driving"].update(fps="1/0")),
        ("motion_damaged", lambda _tensors, header: header["driving"].update(fps="-25/1")),
        ("motion_damaged", lambda _tensors, header: header["driving"].update(frames=17)),
        ("motion_damaged", lambda tensors, _header: tensors.pop("jacobians")),
        ("motion_damaged", lambda tensors, _header: tensors.update(more=np.zeros(3, np.float32))),
        ("motion_damaged", lambda tensors, _header: tensors.update(positions=tensors["positions"].astype(np.float64))),
        ("motion_damaged", lambda tensors, _header: tensors.update(positions=tensors["positions"][:, :3].copy())),
        ("motion_damaged", lambda tensors, _header: tensors["positions"].__setitem__((3, 2, 1), np.nan)),
        ("motion_damaged", lambda tensors, _header: tensors["jacobians"].__setitem__((3, 2, 1, 0), 1e9)),
    ],
)
def test_a_template_that_does_not_fit_is_refused(
    code: str,
    change: Callable[[dict[str, Any], dict[str, Any]], object],
    template: Path,
    model: ModelFacts,
    tmp_path: Path,
) -> None:
    with pytest.raises(MotionRejected) as refused:
        read_template(changed(tmp_path / "changed", template, change), model)
    assert refused.value.code == code


def test_what_is_no_template_is_refused(template: Path, model: ModelFacts, tmp_path: Path) -> None:
    whole = template.read_bytes()
    for content in (
        b"",
        whole[:100],
        whole[:-1],
        struct.pack("<Q", 1 << 60) + whole[8:],
        pickle.dumps({"positions": 1}),
        b"\x89PNG" + bytes(1000),
    ):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(MotionRejected) as refused:
            read_template(path, model)
        assert refused.value.code == "motion_damaged"
    save_file({"positions": np.zeros((16, 10, 2), np.float32)}, tmp_path / "bare")
    with pytest.raises(MotionRejected):
        read_template(tmp_path / "bare", model)
