"""From what a person asks for to a run: the clips it has, and those it is resumed with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.data.avatars import write_clips
from model.training.errors import TrainingError
from model.training.launch import Launch, launch
from model.training.presets import PRESETS
from model.training.run_folder import read_run
from tests.model.training_runs import one_thread

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")


# The reader of imageio-ffmpeg leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_is_resumed_with_the_clips_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # of the cache
    data, run = tmp_path / "clips", tmp_path / "run"
    clips = write_clips(data / "train", clips=4, clips_per_identity=2, frames=3, size=64)
    (data / "train" / "broken.mp4").write_bytes(b"no video")
    changes = (("num_steps", 1), ("batch_size", 2), ("num_workers", 0), ("device", "cpu"))
    launch(Launch(output=run, preset="avatars-64", data=data, by_identity=True, changes=changes))
    assert "left out: train/broken.mp4" in caplog.text
    assert read_run(run).by_identity

    def resume(data: Path | None, *, by_identity: bool | None = None) -> None:
        launch(Launch(output=run, resume=True, data=data, by_identity=by_identity), dry_run=True)

    resume(data)
    assert read_run(run).by_identity
    with pytest.raises(TrainingError, match="differs in by_identity"):
        resume(data, by_identity=False)
    with pytest.raises(TrainingError, match="differs in data"):  # drawn avatars are other data
        resume(None)
    clips[0].unlink()
    with pytest.raises(TrainingError, match="differs in data") as refusal:
        resume(data)
    assert refusal.value.code == "run_mismatch"


def test_a_backbone_that_is_missing_is_told_before_clips_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = tmp_path / "clips"
    write_clips(data / "train", clips=2, clips_per_identity=1, frames=3, size=64)
    decoded: list[object] = []
    perceptual = replace(PRESETS["vox-256"]().perceptual, weights_file=str(tmp_path / "vgg19.pth"))
    changes = (("device", "cpu"), ("perceptual", perceptual))
    wanted = Launch(output=tmp_path / "run", preset="vox-256", data=data, changes=changes)
    with pytest.raises(TrainingError) as refusal:
        launch(wanted, on_cache=decoded.append)
    assert refusal.value.code == "backbone_not_found"
    assert not decoded
    assert not (tmp_path / "run").exists()
