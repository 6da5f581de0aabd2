"""The views of an animation: what they show, and that nothing is done for those that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.bundle import load_bundle
from model.inference.animator import Animator
from model.inference.motion_transfer import motion_reference
from model.networks.keypoints import frames_of
from tests.conftest import decoding_children
from worker import catalog, media, pictures
from worker.engine.animation import AnimationReport, animate_video
from worker.engine.view_drawing import fitted, flow_colours, flow_picture, occlusion_picture
from worker.engine.views import view_path
from worker.errors import JobCanceled
from worker.jobs import AnimationOptions
from worker.result_formats import VIEW_NAMES
from worker.settings import UNLIMITED, Settings


def animate(source: Path, clip: Path, output: Path, animator: Animator, **more: object) -> AnimationReport:
    asked = {"source_crop": "none", "driving_crop": "none", "views": ",".join(VIEW_NAMES), **more}
    told = asked.pop("on_progress", lambda _done: None)
    return animate_video(
        source,
        clip,
        media.probe_video(clip, UNLIMITED),
        output,
        animator,
        AnimationOptions.model_validate(asked),
        limits=UNLIMITED,
        batch_frames=5,
        on_progress=told,  # pyright: ignore[reportArgumentType]
    )


def read(path: Path) -> np.ndarray:
    facts = media.probe_video(path, UNLIMITED)
    assert (facts.frames, facts.fps, facts.has_audio) == (16, "25/1", False)
    return np.concatenate(list(media.read_frames(path, facts, batch_frames=16))).astype(int)


def test_each_is_a_video_of_as_many_frames(source: Path, short_clip: Path, animator: Animator, tmp_path: Path) -> None:
    report = animate(source, short_clip, tmp_path / "out.webm", animator, format="webm")
    assert [view.name for view in report.views] == list(VIEW_NAMES)
    assert {view.path for view in report.views} == {view_path(tmp_path / "out.webm", name) for name in VIEW_NAMES}
    assert {path.name for path in tmp_path.iterdir()} == {"out.webm", *(f"out.{name}.mp4" for name in VIEW_NAMES)}
    comparison, keypoints, flow, occlusion = (read(view.path) for view in report.views)
    assert comparison.shape[1:3] == (256, 3 * 256 + 2 * 4)
    assert keypoints.shape[1:3] == (256, 2 * 256 + 4)
    assert flow.shape[1:3] == occlusion.shape[1:3] == (256, 256)
    result = read_frames(tmp_path / "out.webm")
    driving = read_frames(short_clip)
    picture = pictures.load_image(source, square_px=256).astype(int)
    for shown, wanted in ((comparison[:, :, :256], picture), (comparison[:, :, 260:516], driving)):
        assert np.abs(shown - wanted).mean() < 4
    assert np.abs(comparison[:, :, 520:] - result).mean() < 4, "the same moment in all three"
    # Keypoints are drawn on the pictures: most of each is still there, something is not.
    for shown, wanted in ((keypoints[:, :, :256], picture), (keypoints[:, :, 260:], driving)):
        differs = np.abs(shown - wanted).max(-1) > 60
        assert 0.005 < differs.mean() < 0.1
    assert np.abs(occlusion[..., 0] - occlusion[..., 2]).max() < 8, "grey"
    assert np.abs(flow[1:] - flow[:-1]).mean() > 0.1, "it moves"


def read_frames(path: Path) -> np.ndarray:
    return np.concatenate(list(media.read_frames(path, media.probe_video(path, UNLIMITED), batch_frames=16))).astype(
        int
    )


def test_nothing_is_done_for_views_that_nobody_asked_for(
    source: Path, short_clip: Path, animator: Animator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    original = media.VideoWriter.__enter__

    def noted(writer: media.VideoWriter) -> media.VideoWriter:
        opened.append(writer._path)
        return original(writer)

    monkeypatch.setattr(media.VideoWriter, "__enter__", noted)
    monkeypatch.setattr(Animator, "flow", lambda *_: pytest.fail("the flow was computed"))
    report = animate(source, short_clip, tmp_path / "out.mp4", animator, views=None)
    assert (report.views, opened) == ((), [tmp_path / "out.mp4"])
    animate(source, short_clip, tmp_path / "two.mp4", animator, views="occlusion")
    assert opened[1:] == [tmp_path / "two.occlusion.mp4", tmp_path / "two.mp4"]


def test_leaving_early_leaves_no_file_and_no_process(
    source: Path, short_clip: Path, animator: Animator, tmp_path: Path
) -> None:
    def stop(done: int) -> None:
        if done >= 5:
            raise JobCanceled

    with pytest.raises(JobCanceled):
        animate(source, short_clip, tmp_path / "out.mp4", animator, on_progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert decoding_children() == []


def test_pasted_back_the_whole_pictures_are_compared(
    source: Path, short_clip: Path, animator: Animator, tmp_path: Path
) -> None:
    wide = tmp_path / "wide.png"
    pictures.write_png(wide, np.pad(pictures.load_image(source), ((0, 0), (100, 112), (0, 0)), mode="reflect"))
    report = animate(wide, short_clip, tmp_path / "out.mp4", animator, paste_back=True, views="comparison")
    height, width = pictures.load_image(wide).shape[:2]
    whole = round(256 * width / height)
    assert abs(report.views[0].width - (2 * whole + 256 + 2 * 4)) <= 1


def test_the_fast_flow_is_the_plain_one(source: Path, short_clip: Path) -> None:
    folder = catalog.find_model("avatars-256", Settings().model_dirs).folder
    driving = next(iter(media.read_frames(short_clip, media.probe_video(short_clip, UNLIMITED), batch_frames=3)))
    flows = []
    for plain in (True, False):
        animator = Animator(load_bundle(folder), device="cpu", plain=plain)
        prepared = animator.prepare(pictures.load_image(source, square_px=256))
        keypoints = animator.keypoints(driving)
        options = animator.config.motion_transfer
        reference = motion_reference(prepared.keypoints, frames_of(keypoints, slice(1)), options)
        flows.append(animator.flow(prepared, keypoints, reference, options))
    assert flows[0].shape == (3, 64, 64, 2)
    assert np.abs(flows[0] - flows[1]).max() < 1e-3


def test_directions_have_the_colours_of_the_wheel() -> None:
    ways = np.array([[[1, 0], [0, 1], [-1, 0], [0, -1]], [[0, 0], [0.5, 0], [2, 0], [0.01, 0]]], np.float32)
    (right, down, left, up), (rest, half, beyond, little) = flow_colours(ways, 1.0).astype(int)
    assert right.tolist() == [255, 0, 0]
    assert down[0] > 200
    assert down[1] > 200
    assert down[2] == 0, "yellow"
    assert left[0] == 0
    assert left[2] == 255, "cyan to blue"
    assert up[2] > 200
    assert up[1] < 60, "blue to violet"
    assert (rest.tolist(), half.tolist(), beyond.tolist()) == ([255] * 3, [255, 128, 128], [191, 0, 0])
    assert little[1] == 252


def test_a_flow_shows_where_content_has_moved_to() -> None:
    line = np.linspace(-1, 1, 32, dtype=np.float32)
    identity = np.stack(np.meshgrid(line, line), axis=-1)
    assert (flow_picture(identity, 64, 0.1)[:40] == 255).all(), "at rest it is white (the wheel is below)"
    # Read from 0.1 to the left: the content has moved to the right.
    moved = flow_picture(identity - np.array([0.1, 0], np.float32), 64, 0.2)[10, 10].astype(int)
    assert moved[0] == 255
    assert abs(moved[1] - 128) <= 1


def test_odd_shapes_fit() -> None:
    assert fitted(np.zeros((100, 50, 3), np.uint8), 256).shape == (256, 128, 3)
    wide = fitted(np.zeros((100, 1000, 3), np.uint8), 256)
    assert wide.shape == (256, 512, 3)
    assert (wide[0].min(), wide[128].max()) == (255, 0)
    grey = occlusion_picture(np.array([[0, 1], [0, 1]], np.float32), 64)
    assert (grey[0, 0].tolist(), grey[0, 63].tolist()) == ([0, 0, 0], [255, 255, 255])
