"""`animato evaluate` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.test_cli_training import animato


def test_the_bundle_that_ships_on_avatars(tmp_path: Path) -> None:
    options = ["--data", "avatars", "--identities", "2", "--frames", "1", "-o", "out", "--device", "cpu"]
    said = animato(tmp_path, "evaluate", "avatars-256", *options)
    assert "cross-identity, absolute: 2 frames of 2" in said
    assert "Animating 2/2" in said
    assert "Tracking 2/2" in said
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (report["format"], report["schema_version"]) == ("animato-evaluation", 1)
    assert report["protocol"]["identities"] == 2
    assert report["bundle"]["name"] == "avatars-256"
    by_method = {row["method"]: row for row in report["table"] if row["part"] == "reconstruction"}
    assert by_method["copy of the source"]["l1_to_copy"] == 1
    assert 0 < by_method["avatars-256"]["l1"] < 0.2
    with Image.open(tmp_path / "out" / "evaluation.png") as picture:
        assert picture.width > 900


def test_a_folder_of_clips_with_the_face_detector(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    animato(
        tmp_path, "data", "avatars", "-o", "clips/test", "--clips", "1", "--frames", "4", "--size", "64",
        "--split", "test",
    )  # fmt: skip
    bundle = str(REPOSITORY / "model" / "bundles" / "avatars-256")
    said = animato(tmp_path, "evaluate", bundle, "--data", "clips", "--frames", "2", "-o", "out")
    assert "MKR" in said
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["detector"]["face-recognition-models"]
    assert report["protocol"]["clips"] == ["test/id00000#000.mp4"]
    assert report["table"][0]["frames"] == 2


def test_what_cannot_be_evaluated_is_said_in_one_line(tmp_path: Path) -> None:
    assert "[bundle_not_found]" in animato(tmp_path, "evaluate", "nope", "--data", "avatars", "-o", "out", code=1)
    assert "[data_folder_missing]" in animato(
        tmp_path, "evaluate", "avatars-256", "--data", "nope", "--detector", "none", "-o", "out", code=1
    )
    animato(tmp_path, "evaluate", "avatars-256", "-o", "out", code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    options = ["--data", "avatars", "--identities", "2", "--frames", "1", "-o", "out", "--device", "cpu"]
    said = animato(tmp_path, "evaluate", str(next((REPOSITORY / "model" / "bundles").iterdir())), *options, code=1)
    assert "[file_error]" in said
    assert "Animating" not in said
