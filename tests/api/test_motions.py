"""Motion templates over HTTP: jobs like animations, listed apart, and copied into the animations that use them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import Service, assert_problem
from tests.conftest import job_result
from worker.api_keys import KeyStore
from worker.catalog import find_model
from worker.jobs import TEMPLATE_MEDIA_TYPE, JobError, JobKind, new_id
from worker.settings import Settings

Files = dict[str, tuple[str, bytes]]
CONTENT = b"the keypoints of a clip"


def post(service: Service, files: Files, **options: str) -> httpx.Response:
    return service.http.post("/motions", files={"driving_video": files["driving_video"]}, data=options)


def animate(service: Service, files: Files, motion: str, **options: str) -> httpx.Response:
    form = {"source_image": files["source_image"]}
    return service.http.post("/animations", files=form, data={"motion": motion, **options})


def extract(service: Service, motion_id: str, bundle_sha256: str | None = None) -> None:
    """What a worker does, but for the keypoints."""
    claim = service.job_store.claim(motion_id, "a worker")
    assert claim is not None
    result = job_result(
        key=f"motions/{motion_id}/result-{claim.fence}.safetensors",
        media_type=TEMPLATE_MEDIA_TYPE,
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        bundle_sha256=bundle_sha256 or find_model("avatars-256", ()).bundle_sha256,
    )
    service.storage.put_bytes(result.key, CONTENT)
    assert service.job_store.commit(motion_id, claim.fence, result)


def stored(service: Service, key: str) -> bytes:
    return b"".join(service.storage.read(key, 0, service.storage.head(key).size_bytes))


def test_from_the_clip_to_an_animation_that_outlives_the_motion(service: Service, files: Files) -> None:
    answer = post(service, files, driving_crop="0,0,48,48")
    assert answer.status_code == 202, answer.text
    made = answer.json()
    motion_id = made["id"]
    assert answer.headers["location"] == f"/motions/{motion_id}" == made["links"]["self"]
    assert motion_id.startswith("mot_")
    assert made["options"] == {"model": "avatars-256", "driving_crop": "0,0,48,48", "driving_subject": 0}
    assert (made["status"], made["input"]["driving_video"]["frames"], made["links"]["file"]) == ("queued", 5, None)
    assert_problem(animate(service, files, motion_id), 409, "motion_not_ready", "motion")
    assert_problem(service.http.get(f"/motions/{motion_id}/file"), 409, "motion_not_ready")

    extract(service, motion_id)
    read = service.http.get(f"/motions/{motion_id}").json()
    assert (read["status"], read["result"]["size_bytes"]) == ("succeeded", len(CONTENT))
    file = service.http.get(read["links"]["file"])
    assert (file.content, file.headers["content-type"]) == (CONTENT, TEMPLATE_MEDIA_TYPE)
    assert service.http.get(read["links"]["file"], headers={"Range": "bytes=4-12"}).content == CONTENT[4:13]

    animation = animate(service, files, motion_id)
    assert animation.status_code == 202, animation.text
    assert animation.json()["input"]["motion"] == motion_id
    # They are listed apart.
    assert [one["id"] for one in service.http.get("/motions").json()["data"]] == [motion_id]
    assert [one["id"] for one in service.http.get("/animations").json()["data"]] == [animation.json()["id"]]
    assert_problem(service.http.get(f"/animations/{motion_id}"), 404, "animation_not_found")

    for _ in range(2):
        assert service.http.delete(f"/motions/{motion_id}").status_code == 204
    assert list(service.storage.list_keys("motions")) == []
    assert_problem(service.http.get(f"/motions/{motion_id}"), 404, "motion_not_found")
    job = service.job_store.get(animation.json()["id"])
    assert job is not None
    assert stored(service, job.input.driving_key) == CONTENT, "the animation has a copy"
    assert_problem(animate(service, files, motion_id), 422, "unknown_motion", "motion")


def test_what_cannot_be_used_is_said_and_leaves_nothing(service: Service, files: Files) -> None:
    for unknown in ("mot_", new_id(JobKind.MOTION), new_id(), "../" * 9):
        assert_problem(animate(service, files, unknown), 422, "unknown_motion", "motion")
    failed = post(service, files).json()["id"]
    claim = service.job_store.claim(failed, "a worker")
    assert claim is not None
    service.job_store.fail(failed, claim.fence, JobError(code="media_rejected", detail="no"), attempt=1)
    assert_problem(animate(service, files, failed), 409, "motion_failed", "motion")
    assert_problem(service.http.get(f"/motions/{failed}/file"), 409, "motion_failed")

    other = post(service, files).json()["id"]
    extract(service, other, "0" * 64)
    assert_problem(animate(service, files, other), 422, "motion_other_model", "motion")
    good = post(service, files).json()["id"]
    extract(service, good)
    both = service.post(files, {"motion": good})
    assert_problem(both, 422, "invalid_options", "driving_video")
    assert_problem(animate(service, files, good, views="flow,comparison"), 422, "invalid_options", "views")
    assert_problem(animate(service, files, good, driving_crop="none"), 422, "invalid_options", "driving_crop")
    assert_problem(
        animate(service, files, good, reference_frame="7"), 422, "reference_frame_missing", "reference_frame"
    )
    assert list(service.storage.list_keys("animations")) == []
    assert service.job_store.page(10) == []

    assert_problem(post(service, files, smoothing="1"), 400, "unknown_part", "smoothing")
    assert_problem(
        service.http.post("/motions", files={"source_image": files["source_image"]}),
        400,
        "unknown_part",
        "source_image",
    )


def test_a_template_that_vanishes_while_it_is_taken(service: Service, files: Files) -> None:
    motion_id = post(service, files).json()["id"]
    extract(service, motion_id)
    for key in list(service.storage.list_keys("motions")):
        service.storage.delete(key)
    assert_problem(animate(service, files, motion_id), 422, "unknown_motion", "motion")
    assert_problem(service.http.get(f"/motions/{motion_id}/file"), 410, "result_gone")
    assert list(service.storage.list_keys("animations")) == []


def test_the_same_key_makes_one_motion(service: Service, files: Files) -> None:
    def send() -> Any:
        form = {"driving_video": files["driving_video"]}
        return service.http.post("/motions", files=form, headers={"Idempotency-Key": "once"}).json()["id"]

    assert send() == send()
    assert len(service.http.get("/motions").json()["data"]) == 1


@pytest.fixture
def keys(settings: Settings) -> Any:
    store = KeyStore.connect(settings)
    yield store
    store.close()


def test_others_do_not_exist(serve: Callable[..., Service], keys: KeyStore, files: Files) -> None:
    service = serve()
    one, two = ({"X-API-Key": keys.create(name).text} for name in ("one", "two"))
    form = {"driving_video": files["driving_video"]}
    motion_id = service.http.post("/motions", files=form, headers=one).json()["id"]
    extract(service, motion_id)
    assert_problem(service.http.get(f"/motions/{motion_id}", headers=two), 404, "motion_not_found")
    assert service.http.delete(f"/motions/{motion_id}", headers=two).status_code == 204
    assert service.http.get("/motions", headers=two).json()["data"] == []
    source = {"source_image": files["source_image"]}
    for who, status in ((two, 422), (one, 202)):
        answer = service.http.post("/animations", files=source, data={"motion": motion_id}, headers=who)
        assert answer.status_code == status, answer.text
