"""POST /animations: what is accepted, and the order in which things become true."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.conftest import Service, assert_problem, make_clip, make_picture
from tests.conftest import wait_until
from worker.animation_options import AnimationOptions
from worker.errors import QueueUnavailable
from worker.job_store import JobStore
from worker.jobs import Job, JobState
from worker.settings import MediaLimits, Settings

Files = dict[str, tuple[str, bytes]]


def test_accepts_and_tells_where_to_look(service: Service, files: Files) -> None:
    response = service.post(files, {"motion_transfer": "absolute", "audio": "false"})

    assert response.status_code == 202, response.text
    body = response.json()
    assert response.headers["location"] == f"/animations/{body['id']}"
    assert response.headers["retry-after"] == "2"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert body["status"] == "queued"
    assert body["queue_position"] == 0
    assert body["progress"] == {"percent": 0, "frames_done": 0, "frames_total": 5}
    defaults = AnimationOptions().model_dump()
    assert body["options"] == {
        **defaults,
        "model": service.settings.model,
        "motion_transfer": "absolute",
        "audio": False,
    }
    assert body["input"]["source_image"]["width"] == 80
    assert body["input"]["driving_video"]["fps"] == "10/1"
    assert body["links"] == {
        "self": f"/animations/{body['id']}",
        "events": f"/animations/{body['id']}/events",
        "result": None,
        "cancel": f"/animations/{body['id']}/cancel",
    }
    assert "key" not in response.text.replace("keypoint", "")


def test_stores_both_files_and_the_record(service: Service, files: Files, tmp_path: Path) -> None:
    body = service.post(files).json()

    job = service.job_store.get(body["id"])
    assert job is not None
    for part, key, facts in (
        ("source_image", job.input.source_key, job.input.picture),
        ("driving_video", job.input.driving_key, job.input.driving),
    ):
        local = tmp_path / part
        service.storage.fetch(key, local)
        assert local.read_bytes() == files[part][1]
        assert facts.sha256 == hashlib.sha256(files[part][1]).hexdigest()
    wait_until(lambda: not service.uploaded_files(), "the upload folder is empty")


def test_rings_the_doorbell(service: Service, files: Files) -> None:
    body = service.post(files).json()

    def message_holds_the_id() -> bool:
        messages: list[str] = service.redis.lrange("animato:queue:animations", 0, -1)  # pyright: ignore[reportAssignmentType]
        return len(messages) == 1 and body["id"] in messages[0]

    wait_until(message_holds_the_id, "the message is in the queue")


def test_a_doorbell_that_cannot_be_rung_is_no_error(service: Service, files: Files) -> None:
    # A key of another type where kombu wants its list: Redis answers, but publishing fails.
    service.redis.set("animato:queue:animations", "no list")

    response = service.post(files)

    assert response.status_code == 202
    assert service.http.get(response.headers["location"]).json()["status"] == "queued"


def test_the_request_id_of_the_client_is_kept(service: Service, files: Files) -> None:
    response = service.http.post("/animations", files=files, headers={"X-Request-ID": "my-request_1"})

    assert response.headers["x-request-id"] == "my-request_1"
    job = service.job_store.get(response.json()["id"])
    assert job is not None
    assert job.context.request_id == "my-request_1"


@pytest.mark.parametrize("odd", ["short", "with space in it", "x" * 65, "ünïcödé-id".encode().decode("latin-1")])
def test_an_odd_request_id_is_replaced(service: Service, odd: str) -> None:
    response = service.http.get("/healthz", headers={b"X-Request-ID": odd.encode("latin-1")})  # pyright: ignore[reportArgumentType]

    assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("data", "field", "code"),
    [
        ({"motion_transfer": "sideways"}, "motion_transfer", "invalid_options"),
        ({"motion_transfer": ""}, "motion_transfer", "invalid_options"),
        ({"audio": "perhaps"}, "audio", "invalid_options"),
        ({"smoothing": "2"}, "smoothing", "invalid_options"),
        ({"size": "65"}, "size", "invalid_options"),
        ({"source_crop": "middle"}, "source_crop", "invalid_options"),
        ({"source_crop": "500,500,64,64"}, "source_crop", "crop_impossible"),
        ({"driving_crop": "0,0,4,4"}, "driving_crop", "crop_impossible"),
        ({"reference_frame": "5"}, "reference_frame", "reference_frame_missing"),
        ({"audio": " "}, "audio", "invalid_options"),
        ({"model": "../../etc/passwd"}, "model", "invalid_options"),
        ({"model": "x" * 65}, "model", "invalid_options"),
        ({"model": "no-such-model"}, "model", "unknown_model"),
    ],
)
def test_options_that_cannot_be_used(
    service: Service, files: Files, data: dict[str, str], field: str, code: str
) -> None:
    assert_problem(service.post(files, data), 422, code, field)
    service.assert_nothing_left()


def test_every_wrong_option_is_named(service: Service, files: Files) -> None:
    problem = assert_problem(
        service.post(files, {"motion_transfer": "up", "audio": "perhaps"}), 422, "invalid_options", "motion_transfer"
    )

    assert [error["field"] for error in problem["errors"]] == ["motion_transfer", "audio"]  # pyright: ignore[reportGeneralTypeIssues]


def test_limits_of_the_two_files(
    serve: Callable[..., Service], settings: Settings, files: Files, tmp_path: Path
) -> None:
    limits = MediaLimits(
        image_max_bytes=4000, image_max_pixels=10_000, video_max_pixels=10_000, video_max_fps=25, video_max_frames=20
    )
    service = serve(settings=settings.model_copy(update={"limits": limits}))

    def post(**changed: bytes) -> object:
        return service.post({**files, **{name: ("name", content) for name, content in changed.items()}})

    noise = os.urandom(5000)
    cases = [
        ({"source_image": files["source_image"][1] + noise}, 413, "part_too_large"),
        ({"source_image": make_picture(200, 100)}, 422, "media_too_large"),
        ({"source_image": make_picture(80, 20)}, 422, "media_too_small"),
        ({"driving_video": make_clip(tmp_path, "testsrc=size=160x120:rate=10:duration=0.3")}, 422, "media_too_large"),
        ({"driving_video": make_clip(tmp_path, "testsrc=size=64x32:rate=10:duration=0.3")}, 422, "media_too_small"),
        ({"driving_video": make_clip(tmp_path, "testsrc=size=64x64:rate=50:duration=0.3")}, 422, "frame_rate_too_high"),
        ({"driving_video": make_clip(tmp_path, "testsrc=size=64x64:rate=10:duration=3")}, 422, "media_too_long"),
        ({"driving_video": files["source_image"][1]}, 422, "not_an_animation"),
        ({"source_image": files["driving_video"][1]}, 415, "unsupported_media_type"),
    ]
    for changed, status, code in cases:
        assert_problem(post(**changed), status, code, next(iter(changed)))  # pyright: ignore[reportArgumentType]
        service.assert_nothing_left()


def test_queue_away(serve: Callable[..., Service], settings: Settings, files: Files) -> None:
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0", "redis_timeout_s": 0.5})
    service = serve(settings=away)

    assert_problem(service.post(files), 503, "queue_unavailable")
    assert_problem(service.http.get("/animations"), 503, "queue_unavailable")
    assert not service.uploaded_files()
    assert list(service.storage.list_keys("animations")) == []


def test_queue_lost_between_upload_and_record(service: Service, files: Files) -> None:
    # Redis answers, but its memory is full: the files must not stay either.
    service.redis.config_set("maxmemory", 1)
    try:
        assert_problem(service.post(files), 503, "queue_unavailable")
    finally:
        service.redis.config_set("maxmemory", 0)
    service.assert_nothing_left()


def test_storage_away(serve: Callable[..., Service], settings: Settings, files: Files) -> None:
    # A file where the storage wants its folder.
    service = serve()
    (settings.data_dir / "objects" / "animations").write_text("in the way")

    assert_problem(service.post(files), 503, "storage_unavailable")
    assert service.job_store.page(10) == []
    assert not service.uploaded_files()


def test_disk_without_reserve(serve: Callable[..., Service], files: Files) -> None:
    service = serve(disk_reserve_bytes=2**60)

    assert_problem(service.post(files), 503, "disk_full")
    service.assert_nothing_left()


def test_many_at_once_end_queued_in_order(service: Service, files: Files) -> None:
    ids = [service.post(files).json()["id"] for _ in range(3)]

    positions = [service.http.get(f"/animations/{one}").json()["queue_position"] for one in ids]
    assert positions == [0, 1, 2]
    assert [job.state for job in service.job_store.page(5)] == [JobState.QUEUED] * 3


def test_an_answer_lost_at_the_last_step_loses_no_input(
    serve: Callable[..., Service], settings: Settings, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis freezes as the record is written, and writes it when it wakes: the files must still be there then."""
    service = serve(settings=settings.model_copy(update={"redis_timeout_s": 0.3}))
    server_pid: int = service.redis.info()["process_id"]  # pyright: ignore[reportIndexIssue]
    submit = JobStore.submit

    def frozen(store: JobStore, *arguments: object, **named: object) -> Job:
        store.ping()  # the connection exists, as in a service at work
        os.kill(server_pid, signal.SIGSTOP)
        return submit(store, *arguments, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(JobStore, "submit", frozen)
    headers = {"Idempotency-Key": "one"}
    try:
        problem = assert_problem(
            service.http.post("/animations", files=files, headers=headers), 503, "queue_unavailable"
        )
    finally:
        os.kill(server_pid, signal.SIGCONT)
    assert "not known" in str(problem["hint"])

    wait_until(lambda: len(service.job_store.page(10)) == 1, "Redis has written the record")
    (job,) = service.job_store.page(10)
    assert job.state is JobState.QUEUED
    for key in (job.input.source_key, job.input.driving_key):
        assert service.storage.head(key).size_bytes > 0
    again = service.http.post("/animations", files=files, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, job.id)


def test_a_queue_lost_after_the_record_is_no_refusal(
    service: Service, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> int:
        raise QueueUnavailable("away")

    monkeypatch.setattr(JobStore, "queue_position", away)
    response = service.post(files)
    assert response.status_code == 202, response.text
    assert response.json()["queue_position"] is None
