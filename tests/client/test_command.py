"""`animato submit` as people run it: what it prints, how it ends, and what Ctrl-C does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import Service as Api
from tests.client.conftest import RESULT, fail, only_job, succeed
from tests.conftest import REPOSITORY, free_port, wait_until
from worker.jobs import JobState

Pair = dict[str, Path]


def command(pair: Pair, *arguments: object, url: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, REPOSITORY / "animato.py", "submit", *pair.values(), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ANIMATO_SERVER": url, **environment},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture
def url(api: Api) -> str:
    return f"http://127.0.0.1:{api.port}"


def test_submitted_now_and_fetched_by_the_same_command(api: Api, url: str, pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    options = ("--smoothing", "0.5", "--no-audio", "--source-crop", "none")
    code, printed, _ = ended(command(pair, *options, "--no-wait", url=url))
    job = only_job(api)
    assert (code, printed.strip()) == (0, job.id)
    assert (job.options.smoothing, job.options.audio, job.options.source_crop) == (0.5, False, "none")
    assert job.options.driving_crop == "auto", "for what was not given the service has its own defaults"
    succeed(api, job.id)

    code, printed, err = ended(command(pair, *options, "-o", out, "--json", url=url))

    said = json.loads(printed)
    assert (code, said["id"], said["status"], said["output"]) == (0, job.id, "succeeded", str(out)), err
    assert out.read_bytes() == RESULT
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert len(api.job_store.page(10)) == 1


def test_ctrl_c_leaves_and_the_same_command_goes_on(api: Api, url: str, pair: Pair, tmp_path: Path) -> None:
    waiting = command(pair, "-o", tmp_path / "out.mp4", url=url)
    wait_until((tmp_path / ".out.mp4.animato").exists, "it is accepted", 60)
    waiting.send_signal(signal.SIGINT)
    code, _, err = ended(waiting)
    assert (code, "[interrupted]" in err, "goes on" in err) == (130, True, True), err
    assert only_job(api).state is JobState.QUEUED

    again = command(pair, "-o", tmp_path / "out.mp4", url=url)
    succeed(api, only_job(api).id, warnings=("The middle was taken.",))
    code, printed, err = ended(again)
    assert code == 0, err
    assert "animato: warning: The middle was taken." in err.splitlines()
    assert printed.startswith(f"{tmp_path}/out.mp4: 100 frames, 25/1 frames/s, 256×256")
    assert (tmp_path / "out.mp4").read_bytes() == RESULT


def test_the_second_ctrl_c_cancels_when_asked_to(api: Api, url: str, pair: Pair, tmp_path: Path) -> None:
    waiting = command(pair, "-o", tmp_path / "out.mp4", "--cancel-on-interrupt", url=url)
    assert waiting.stderr is not None
    lines = iter(waiting.stderr.readline, "")
    assert any("Queued" in line for line in lines)
    waiting.send_signal(signal.SIGINT)
    assert any("Ctrl-C again cancels it" in line for line in lines)
    assert only_job(api).state is JobState.QUEUED
    waiting.send_signal(signal.SIGINT)
    code, _, err = ended(waiting)
    assert (code, "[animation_canceled]" in err) == (5, True), err
    assert only_job(api).state is JobState.CANCELED


def test_how_it_ends_says_why(api: Api, url: str, pair: Pair, tmp_path: Path) -> None:
    failing = command(pair, "-o", tmp_path / "out.mp4", "--json", url=url)
    wait_until(lambda: bool(api.job_store.page(1)), "it is accepted", 60)
    fail(api, only_job(api).id)
    refused = command(dict(zip("ab", reversed(pair.values()), strict=True)), "-o", tmp_path / "x.mp4", url=url)
    nobody = command(pair, "-o", tmp_path / "x.mp4", "--patience", "0", url=f"http://127.0.0.1:{free_port()}")
    unknown = command(pair, "-o", tmp_path / "no" / "folder.mp4", url=url)

    code, printed, _ = ended(failing)
    assert (code, json.loads(printed)["error"]["code"]) == (1, "subject_not_found")
    code, _, err = ended(refused)
    assert (code, "[unsupported_media_type]" in err) == (3, True), err
    code, _, err = ended(nobody)
    assert (code, "[unreachable]" in err) == (4, True), err
    assert ended(unknown)[0] == 2
    assert not (tmp_path / "out.mp4").exists()
