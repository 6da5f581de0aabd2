"""From clips to a served bundle on the command line: draw, check, train, interrupt, resume, export, animate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from commands.training import data, export, train
from tests.conftest import REPOSITORY, wait_until

ANIMATO = [sys.executable, str(REPOSITORY / "animato.py")]
QUICK = ["--batch-size", "2", "--log-every", "1", "--checkpoint-every", "1", "--sample-every", "2"]


def animato(folder: Path, *arguments: str, code: int = 0) -> str:
    run = subprocess.run([*ANIMATO, *arguments], cwd=folder, capture_output=True, text=True, timeout=250, check=False)
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    drawn = animato(
        folder, "data", "avatars", "-o", "clips", "--clips", "6", "--clips-per-identity", "2", "--frames", "8",
        "--size", "64",
    )  # fmt: skip
    assert "6 clips" in drawn
    return folder / "clips"


def test_check_tells_what_is_there_and_what_is_wrong(clips: Path, tmp_path: Path) -> None:
    text = animato(tmp_path, "data", "check", str(clips), "--frame-size", "64")
    assert "6 clips of 3 identities, 48 frames" in text
    assert (tmp_path / "contact-sheet.png").read_bytes().startswith(b"\x89PNG")
    printed = animato(tmp_path, "data", "check", str(clips), "--json")
    report = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    assert report["verdict"] in ("ready", "doubtful")
    said = animato(tmp_path, "data", "check", str(clips), "--sheet", "nowhere/sheet.png", code=1)
    assert "[file_error]" in said
    assert "6 clips" in said, "what took long is not lost"
    (tmp_path / "empty").mkdir()
    assert "[data_empty]" in animato(tmp_path, "data", "check", "empty", code=1)


def interrupt(number: signal.Signals, folder: Path, *arguments: str) -> int:
    """Start a long run, send a signal to it and its data workers (as a terminal or `timeout` does), return the step."""
    checkpoints = folder / "run" / "checkpoints"
    command = [*ANIMATO, "train", "--preset", "avatars-64", *arguments, "-o", "run", "--steps", "500", *QUICK]
    with subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            wait_until(lambda: any(checkpoints.glob("step-*.pt")), "a checkpoint is written", 60)
            os.killpg(process.pid, number)
            assert process.wait(60) == 130
        finally:
            process.kill()
    return int(max(checkpoints.glob("step-*.pt")).stem.partition("-")[2])


def test_sigterm_to_the_data_workers_too_ends_a_run_with_a_checkpoint(tmp_path: Path) -> None:
    assert 0 < interrupt(signal.SIGTERM, tmp_path) < 500


def test_train_on_clips_interrupt_resume_export_serve(clips: Path, tmp_path: Path) -> None:
    done = interrupt(signal.SIGINT, tmp_path, "--data", str(clips))
    assert 0 < done < 500

    animato(tmp_path, "train", "--resume", "-o", "run", "--data", str(clips), "--steps", str(done + 2))
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, done + 3)), "no step is missing and none is there twice"
    assert any((tmp_path / "run" / "samples").glob("*.png"))

    animato(tmp_path, "export", "run", "-o", "models/mine", "--half")
    source, driving = (str(REPOSITORY / "api" / "samples" / name) for name in ("source.png", "driving.mp4"))
    served = subprocess.run(
        [*ANIMATO, "animate", source, driving, "-o", "out.mp4", "--model", "mine", "--batch-frames", "32"],
        cwd=tmp_path,
        env={"PATH": "", "ANIMATO_MODELS": "models", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    assert "107 frames, 25/1 frames/s, 64×64" in served.stdout


def test_what_cannot_be_trained_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def said(command: click.Command, *arguments: str, code: int = 1) -> str:
        result = CliRunner().invoke(command, arguments)  # each in a process of its own would load torch again
        assert result.exit_code == code, result.output
        assert isinstance(result.exception, SystemExit), "an answer, not a traceback"
        return result.output

    assert "[config_invalid]" in animato(tmp_path, "train", "--preset", "vox-256", "-o", "run", code=1)
    assert "[config_invalid]" in said(train, "--preset", "nope", "-o", "run")
    assert "[run_not_found]" in said(train, "--resume", "-o", "run")
    assert "[run_not_found]" in said(export, "run", "-o", "bundle")
    said(train, "-o", "run", code=2)
    said(data, "avatars", "-o", "clips", "--clips", "1", "--size", "33", code=2)
    assert "train.seed" in said(train, "--preset", "avatars-64", "-o", "run", "--seed", str(10**15))
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_the_configuration_and_stops(tmp_path: Path) -> None:
    animato(tmp_path, "train", "--preset", "avatars-128", "-o", "run", "--dry-run", "--seed", "7")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]
    config = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (config["name"], config["seed"], config["model"]["frame_size"]) == ("avatars-128", 7, 128)


def test_an_epoch_visits_clips_or_people(tmp_path: Path) -> None:
    drawn = ["--clips", "4", "--clips-per-identity", "2", "--frames", "2", "--size", "32"]
    animato(tmp_path, "data", "avatars", "-o", "clips/train", *drawn)
    steps = {}
    for given in ("--by-clip", "--by-identity"):
        animato(tmp_path, "train", "--preset", "mgif-256", "--data", "clips", "-o", "run" + given, "--dry-run", given)
        steps[given] = json.loads((tmp_path / ("run" + given) / "run.json").read_text())["num_steps"]
    # 100 epochs; 4 clips or 2 people, 25 times each, 36 pairs a step.
    assert steps == {"--by-clip": 200, "--by-identity": 100}
