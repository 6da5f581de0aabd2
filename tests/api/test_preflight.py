"""Preflights: the API asks a lane in a process of its own, and nothing is left of it, however it ends."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Service, assert_problem
from tests.conftest import REPOSITORY, wait_until
from worker.preflights import PreflightLine
from worker.settings import Settings

SOURCE = REPOSITORY / "tests" / "samples" / "source.png"
PATIENCE_S = 100.0


@contextmanager
def lane(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A preflight lane; it must end by itself when it is told to."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    line = PreflightLine.connect(settings)
    with (settings.data_dir / "lane.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.engine.preflight_lane"],
            cwd=REPOSITORY,
            env=settings.as_environment(),
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: line.length() is not None, "a lane lives", PATIENCE_S)
        pulse = settings.data_dir / "lane-alive"  # what the containers' health check looks at
        pulse.unlink(missing_ok=True)
        wait_until(pulse.exists, "its loop touches the file again and again", PATIENCE_S)
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        line.close()
        process.kill()
        process.wait()


@pytest.fixture
def form(short_clip: Path) -> Iterator[dict[str, Any]]:
    with SOURCE.open("rb") as image, short_clip.open("rb") as clip:
        yield {"source_image": image, "driving_video": clip}


def assert_nothing_left(service: Service) -> None:
    wait_until(lambda: not service.uploaded_files(), "the upload folder is empty")
    assert list(service.storage.list_keys("animations")) == []
    assert service.job_store.queue_depth() == 0
    wait_until(lambda: service.redis.keys("animato:preflight:*") == ["animato:preflight:lane"], "no key is left")
    work = service.settings.data_dir / "work"
    wait_until(lambda: not work.exists() or not any(work.iterdir()), "the lane's folder is empty")


def ask(service: Service, form: dict[str, Any], **options: str) -> Any:
    for file in form.values():
        file.seek(0)
    return service.http.post("/animations/preflight", files=form, data=options, timeout=PATIENCE_S)


def test_a_lane_answers_and_a_frozen_one_is_not_waited_for_longer_than_allowed(
    serve: Callable[..., Service], settings: Settings, form: dict[str, Any]
) -> None:
    patient = settings.model_copy(update={"preflight_timeout_s": PATIENCE_S})
    with lane(patient) as process:
        service = serve(settings=patient)
        answer = ask(service, form)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["driving"]["frame_count"] == found["estimate"]["frames"] == 16
        assert found["source"]["subject"] == 0
        assert base64.b64decode(found["preview"]["data"]).startswith(b"\x89PNG")
        assert answer.headers["cache-control"] == "no-store"
        assert_nothing_left(service)

        assert_problem(ask(service, form, subject="3"), 422, "subject_not_found")
        assert_nothing_left(service)

        service = serve(settings=settings.model_copy(update={"preflight_timeout_s": 1.0}))
        process.send_signal(signal.SIGSTOP)
        assert_problem(ask(service, form), 503, "preflight_unavailable")
        process.send_signal(signal.SIGCONT)
        assert_nothing_left(service)


def test_without_a_lane_it_is_said_at_once(service: Service, form: dict[str, Any]) -> None:
    assert_problem(ask(service, form), 503, "preflight_unavailable")
    service.assert_nothing_left()


def test_a_long_line_is_not_made_longer(service: Service, form: dict[str, Any]) -> None:
    line = PreflightLine.connect(service.settings)
    line.tell_alive()
    service.redis.rpush("animato:preflight:line", *("an id" for _ in range(4)))
    assert_problem(ask(service, form), 503, "preflight_unavailable")
    service.redis.delete("animato:preflight:line", "animato:preflight:lane")
    line.close()
    service.assert_nothing_left()


def test_the_form_is_judged_as_that_of_an_animation(service: Service, form: dict[str, Any]) -> None:
    line = PreflightLine.connect(service.settings)
    line.tell_alive()
    assert_problem(ask(service, form, smoothing="2"), 422, "invalid_options", "smoothing")
    assert_problem(ask(service, form, reference_frame="99"), 422, "reference_frame_missing", "reference_frame")
    assert_problem(ask(service, {"source_image": form["source_image"]}), 400, "missing_part", "driving_video")
    service.redis.delete("animato:preflight:lane")
    line.close()
    service.assert_nothing_left()
