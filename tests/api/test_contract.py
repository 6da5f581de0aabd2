"""The OpenAPI document against the running service: every request that can be thought up gets a documented answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from api.app import create_app
from api.file_parts import FILE_PARTS, MOTION
from api.settings import ApiSettings
from tests.api.conftest import Service, make_clip, make_picture, running
from tests.api.quick_lane import quick_lane
from tests.conftest import job_result
from worker.jobs import AnimationOptions, ImageFacts, JobError, JobInput, JobKind, JobView, VideoFacts, new_id
from worker.result_formats import VIEW_NAMES
from worker.settings import Settings


@pytest.fixture(scope="module")
def api(redis_socket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in which every kind of animation exists, and nobody waits long."""
    settings_ = Settings(
        redis_url=f"unix://{redis_socket}?db=4001", data_dir=tmp_path_factory.mktemp("contract"), retention_s=3600
    )
    with (
        running(settings_, housekeeping_interval_s=3600, wait_max_s=1, watch_interval_s=0.02) as service,
        quick_lane(settings_),
    ):
        yield service


@pytest.fixture(scope="module")
def endings(api: Service) -> list[str]:
    """The ids of animations in every final state."""
    folder = api.settings.data_dir
    (folder / "result").write_bytes(b"x" * 1000)
    ids = []
    for ending in ("canceled", "failed", "succeeded"):
        job_id = submit(api)
        ids.append(job_id)
        claim = api.job_store.claim(job_id, "a worker")
        assert claim
        if ending == "canceled":
            api.job_store.stop_canceled(job_id, claim.fence)
        elif ending == "failed":
            api.job_store.fail(job_id, claim.fence, JobError(code="inference_failed", detail="no"), attempt=1)
        else:
            key = f"animations/{job_id}/result-1.mp4"
            api.storage.put_file(key, folder / "result", "video/mp4")
            stored = {"key": key, "media_type": "video/mp4", "size_bytes": 1000, "sha256": "2" * 64}
            views = {name: JobView(**stored, width=64, height=64) for name in VIEW_NAMES[:2]}
            api.job_store.commit(job_id, claim.fence, job_result(key=key, size_bytes=1000, views=views))
    return ids


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip"), "testsrc=size=64x64:rate=10:duration=0.3")


def an_input() -> JobInput:
    image = ImageFacts(media_type="image/png", width=64, height=64, size_bytes=10, sha256="0" * 64)
    video = VideoFacts(
        media_type="video/mp4",
        codec="h264",
        width=64,
        height=64,
        fps="25/1",
        frames=10,
        duration_s=0.4,
        rotation_deg=0,
        variable_frame_rate=False,
        has_audio=False,
        has_alpha=False,
        size_bytes=20,
        sha256="1" * 64,
    )
    return JobInput(source_key="a/source", source=image, driving_key="a/driving", driving=video)


schema = schemathesis.openapi.from_dict(create_app(Settings(), ApiSettings()).openapi())
_turn = itertools.count()


def check(case: schemathesis.Case, api: Service, endings: list[str], clip: bytes) -> None:
    """Send the case and compare the answer with the document.

    What no document can say is put in: pictures and videos that are some, cursors that we gave out, and, half of the
    time, animations that exist.
    """
    turn = next(_turn)
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if "animation_id" in case.path_parameters and case.method != "DELETE" and turn % 2:
        # The events of one that never ends would never end either.
        ids = endings if case.path.endswith("/events") else [*endings, submit(api)]
        case.path_parameters["animation_id"] = ids[turn // 2 % len(ids)]
    if "motion_id" in case.path_parameters and case.method != "DELETE" and turn % 2:
        case.path_parameters["motion_id"] = submit(api, JobKind.MOTION)
    if is_valid and "cursor" in case.query:
        for _ in range(2):
            submit(api, JobKind.MOTION)
        case.query["cursor"] = api.http.get(case.path, params={"limit": 1}).json()["next_cursor"]
    if is_valid and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"key-{turn}"  # its own: the same one for another form is an error
    if "prefer" in case.headers and turn % 8:
        del case.headers["prefer"]  # that it waits need not be seen each time
    sent: dict[str, Any] = {}
    if is_valid and isinstance(case.body, dict):
        fields = {name: str(value) for name, value in case.body.items() if name not in (*FILE_PARTS, MOTION)}
        for name in ("source_crop", "driving_crop"):
            if "," in fields.get(name, ""):
                fields[name] = "4,4,32,32"  # one that lies inside the picture
        if fields.get("reference_frame", "").isdigit():
            fields["reference_frame"] = "1"  # a frame that the video has
        sent["data"] = {**fields, "model": "avatars-256"}
        sent["files"] = {"source_image": make_picture(64, 64), "driving_video": clip}
        if case.path == "/motions":
            del sent["files"]["source_image"]
    case.call_and_validate(base_url=f"http://127.0.0.1:{api.port}", timeout=60, **sent)


def submit(api: Service, kind: JobKind = JobKind.ANIMATION) -> str:
    return api.job_store.submit(new_id(kind), an_input(), AnimationOptions(model="avatars-256")).id


QUICK = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
    derandomize=True,
    database=None,
)
LONG = settings(QUICK, max_examples=300, derandomize=False)


@pytest.mark.timeout(300)
@schema.parametrize()
@QUICK
def test_every_answer_is_as_documented(case: schemathesis.Case, api: Service, endings: list[str], clip: bytes) -> None:
    check(case, api, endings, clip)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@schema.parametrize()
@LONG
def test_every_answer_is_as_documented_at_length(
    case: schemathesis.Case, api: Service, endings: list[str], clip: bytes
) -> None:
    check(case, api, endings, clip)


ODD_HEADERS = [
    ("Range", "bytes=5-2"),
    ("Range", "bytes=-0"),
    ("Range", "bytes=" + "9" * 4000 + "-"),
    ("Range", "bytes=0-1," * 500),
    ("Range", "\xff"),
    ("If-Range", '"'),
    ("If-None-Match", '"' * 3000),
    ("If-None-Match", "W/,W/W/*, \xff"),
    ("Prefer", "wait=" + "9" * 4000),
    ("Prefer", "wait==;=,wait"),
    ("Last-Event-ID", "\xff" * 100),
    ("Last-Event-ID", "-" + "9" * 4000),
    ("Idempotency-Key", "\xff"),
    ("X-Request-ID", "a" * 4000),
    ("Accept", "nonsense/\xff"),
]


@pytest.mark.parametrize(("name", "value"), ODD_HEADERS, ids=lambda text: text[:24].encode("unicode_escape").decode())
def test_headers_that_nobody_understands(api: Service, endings: list[str], name: str, value: str) -> None:
    succeeded = f"/animations/{endings[2]}"
    for method, path in itertools.product(
        ("GET", "HEAD", "OPTIONS", "POST"), ("/animations", succeeded, f"{succeeded}/result", f"{succeeded}/events")
    ):
        response = api.http.request(method, path, headers=[(name.encode(), value.encode("latin-1"))])
        assert response.status_code < 500, (method, path, response.text)
        if response.status_code >= 400 and method != "HEAD":
            assert response.headers["content-type"] == "application/problem+json", (method, path)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH", "BREW"])
def test_methods_that_do_not_exist(api: Service, endings: list[str], method: str) -> None:
    for path in ("/animations", f"/animations/{endings[0]}", f"/animations/{endings[0]}/events", "/limits", "/models"):
        response = api.http.request(method, path)
        assert response.status_code == 405, path
        assert "GET" in response.headers["allow"].split(", ")
