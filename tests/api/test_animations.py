"""Read, list and cancel."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Service, assert_problem
from tests.conftest import job_result
from worker.jobs import AnimationOptions, Job, JobContext, JobError, JobInput, JobState, new_id

UNKNOWN = "anm_" + "0" * 26


@pytest.fixture
def job(service: Service, job_input: JobInput) -> Job:
    """A queued animation."""
    return submit(service, job_input)


def submit(service: Service, job_input: JobInput) -> Job:
    return service.job_store.submit(new_id(), job_input, AnimationOptions(model="avatars-256"))


def claim(service: Service, job: Job) -> int:
    claimed = service.job_store.claim(job.id, "a worker")
    assert claimed
    return claimed.fence


def finish(service: Service, job: Job, state: JobState) -> None:
    fence = claim(service, job)
    if state is JobState.FAILED:
        error = JobError(code="out_of_memory", detail="The device has too little memory.", hint="Use a smaller batch.")
        service.job_store.fail(job.id, fence, error, attempt=1)
    elif state is JobState.CANCELED:
        service.job_store.stop_canceled(job.id, fence)
    else:
        result = job_result(
            key=f"animations/{job.id}/result-{fence}.mp4", size_bytes=10, warnings=("The sound could not be kept.",)
        )
        assert service.job_store.commit(job.id, fence, result)


def test_a_retry_names_the_animation_that_failed(service: Service, job_input: JobInput, job: Job) -> None:
    finish(service, job, JobState.FAILED)
    again = service.job_store.submit(new_id(), job_input, AnimationOptions(), JobContext(retry_of=job.id))
    assert service.http.get(f"/animations/{again.id}").json()["retry_of"] == job.id
    assert service.http.get(f"/animations/{job.id}").json()["retry_of"] is None


def test_processing(service: Service, job: Job) -> None:
    fence = claim(service, job)
    service.job_store.heartbeat(job.id, fence, 42)

    response = service.http.get(f"/animations/{job.id}")

    body = response.json()
    assert response.status_code == 200
    assert response.headers["retry-after"] == "2"
    assert response.headers["cache-control"] == "no-store"
    assert body["status"] == "processing"
    assert body["progress"] == {"percent": 42, "frames_done": 42, "frames_total": 100}
    assert body["queue_position"] is None
    assert body["attempt"] == 1
    assert body["started_at"].endswith("Z")
    for private in ("owner", "fence", "lease", "key", "version"):
        assert f'"{private}' not in response.text


def test_succeeded(service: Service, job: Job) -> None:
    finish(service, job, JobState.SUCCEEDED)

    response = service.http.get(f"/animations/{job.id}")

    body = response.json()
    assert "retry-after" not in response.headers
    assert body["progress"]["percent"] == 100
    assert body["result"]["sha256"] == "2" * 64
    assert body["result"]["warnings"] == ["The sound could not be kept."]
    assert "key" not in body["result"]
    assert body["links"]["result"] == f"/animations/{job.id}/result"
    assert body["links"]["cancel"] is None
    assert body["finished_at"]


def test_failed(service: Service, job: Job) -> None:
    finish(service, job, JobState.FAILED)

    body = service.http.get(f"/animations/{job.id}").json()

    assert body["status"] == "failed"
    assert body["error"] == {
        "type": "urn:animato:problem:out_of_memory",
        "title": "The device has too little memory",
        "detail": "The device has too little memory.",
        "code": "out_of_memory",
        "hint": "Use a smaller batch.",
        "retryable": False,
    }


def test_etag_changes_with_the_record_and_with_the_place_in_the_queue(service: Service, job_input: JobInput) -> None:
    first, second = submit(service, job_input), submit(service, job_input)
    path = f"/animations/{second.id}"
    queued = service.http.get(path).headers["etag"]

    unchanged = service.http.get(path, headers={"If-None-Match": f'"other", {queued}'})
    assert unchanged.status_code == 304
    assert unchanged.content == b""
    assert unchanged.headers["etag"] == queued
    assert unchanged.headers["retry-after"] == "2"

    fence = claim(service, first)
    moved = service.http.get(path, headers={"If-None-Match": queued})
    assert moved.status_code == 200
    assert moved.json()["queue_position"] == 0

    service.job_store.heartbeat(first.id, fence, 1)
    tags = {service.http.get(f"/animations/{first.id}").headers["etag"]}
    service.job_store.heartbeat(first.id, fence, 2)
    tags.add(service.http.get(f"/animations/{first.id}").headers["etag"])
    assert len(tags) == 2


@pytest.mark.parametrize("name", [UNKNOWN, "nonsense", "anm_", "..%2f..%2fetc", "%00", "a" * 3000, "anm_" + "O" * 26])
@pytest.mark.parametrize(
    ("method", "tail"), [("GET", ""), ("GET", "/result"), ("HEAD", "/result"), ("POST", "/cancel")]
)
def test_unknown(service: Service, method: str, tail: str, name: str) -> None:
    response = service.http.request(method, f"/animations/{name}{tail}")

    assert response.status_code == 404
    if method != "HEAD":
        assert response.json()["code"] == ("not_found" if "%2f" in name else "animation_not_found")


def test_pages(service: Service, job_input: JobInput) -> None:
    ids = [submit(service, job_input).id for _ in range(5)]

    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    page: dict[str, Any] = {}
    for _ in range(3):
        page = service.http.get("/animations", params=query).json()
        seen += [animation["id"] for animation in page["data"]]
        query["cursor"] = page["next_cursor"] or ""
    assert sorted(seen, reverse=True) == seen
    assert set(seen) == set(ids)
    assert page["next_cursor"] is None
    assert service.http.get("/animations", params={"limit": 5}).json()["next_cursor"] is None


def test_an_empty_list(service: Service) -> None:
    assert service.http.get("/animations").json() == {"object": "list", "data": [], "next_cursor": None}


def test_pages_of_one_status(service: Service, job_input: JobInput) -> None:
    jobs = [submit(service, job_input) for _ in range(6)]
    for job in jobs[::2]:
        service.job_store.cancel(job.id)

    first = service.http.get("/animations", params={"status": "canceled", "limit": 2}).json()
    rest = service.http.get(
        "/animations", params={"status": "canceled", "limit": 2, "cursor": first["next_cursor"]}
    ).json()

    assert len(first["data"]) == 2
    assert {animation["id"] for animation in first["data"] + rest["data"]} == {job.id for job in jobs[::2]}
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "!!!", "MTphYmM", "ü", "MjphbmRlcnM="])
def test_cursors_that_are_not_ours(service: Service, cursor: str) -> None:
    assert_problem(service.http.get("/animations", params={"cursor": cursor}), 400, "invalid_cursor", "cursor")


@pytest.mark.parametrize(
    ("query", "field"), [({"limit": 0}, "limit"), ({"limit": "x"}, "limit"), ({"status": "done"}, "status")]
)
def test_parameters_that_cannot_be_used(service: Service, query: dict[str, str | int], field: str) -> None:
    assert_problem(service.http.get("/animations", params=query), 422, "invalid_request", field)


def test_a_limit_above_the_largest_page_is_lowered(service: Service) -> None:
    assert service.http.get("/animations", params={"limit": 10**6}).status_code == 200


def test_cancel_queued(service: Service, job: Job) -> None:
    response = service.http.post(f"/animations/{job.id}/cancel")
    assert response.status_code == 202
    assert response.json()["status"] == "canceled"

    again = service.http.post(f"/animations/{job.id}/cancel")
    assert again.status_code == 200
    assert again.json()["status"] == "canceled"


def test_cancel_running(service: Service, job: Job) -> None:
    fence = claim(service, job)

    body = service.http.post(f"/animations/{job.id}/cancel").json()

    assert (body["status"], body["cancel_requested"]) == ("processing", True)
    assert body["links"]["cancel"] is None
    assert service.job_store.heartbeat(job.id, fence, 1) == "cancel"


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_cancel_too_late(service: Service, job: Job, state: JobState) -> None:
    finish(service, job, state)

    assert_problem(service.http.post(f"/animations/{job.id}/cancel"), 409, "already_terminal")
    assert service.http.get(f"/animations/{job.id}").json()["status"] == state


def test_methods_and_paths_that_do_not_exist(service: Service) -> None:
    wrong = service.http.put("/animations")
    assert_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, POST"
    assert_problem(service.http.delete("/healthz"), 405, "method_not_allowed")
    assert_problem(service.http.get("/nothing/here"), 404, "not_found")
    assert_problem(service.http.get("/docs"), 404, "not_found")
