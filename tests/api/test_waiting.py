"""`Prefer: wait`: the answer that comes when there is something to say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.datastructures import Headers

from api.waiting import wait_preference
from tests.api.conftest import Service
from tests.conftest import job_result, wait_until
from worker.job_queue import QUEUE_NAME
from worker.jobs import AnimationOptions, Job, JobInput, new_id


@pytest.fixture
def job(service: Service, job_input: JobInput) -> Job:
    """A queued animation."""
    return service.job_store.submit(new_id(), job_input, AnimationOptions(model="avatars-256"))


class Answer:
    """What a request in a thread of its own got."""

    response: httpx.Response

    def body(self) -> dict[str, object]:
        return self.response.json()


@contextmanager
def in_background(service: Service, method: str, path: str, **request: object) -> Iterator[Answer]:
    """Inside the block the request is on its way; after it, it is answered."""
    answer = Answer()

    def send() -> None:
        answer.response = service.http.request(method, path, **request)  # pyright: ignore[reportArgumentType]

    thread = threading.Thread(target=send)
    thread.start()
    yield answer
    thread.join(30)
    assert not thread.is_alive()


def is_watched(service: Service) -> bool:
    return bool(service.app.state.services.watcher._watched)


@pytest.mark.parametrize(
    ("values", "wait_s"),
    [
        ([], None),
        (["wait=10"], 10),
        (["respond-async, WAIT = 10"], 10),
        (["respond-async", "wait=7; x=y"], 7),
        (['wait="12"'], 12),
        (["wait=5, wait=9"], 5),
        (["wait=86400"], 30),
        (["wait=0"], None),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=" + "9" * 400], None),
        (["wait=٣"], None),
        (["await=3"], None),
        ([",,;;=,"], None),
    ],
)
def test_the_preference(values: list[str], wait_s: int | None) -> None:
    headers = Headers(raw=[(b"prefer", value.encode()) for value in values])
    assert wait_preference(headers, 30) == wait_s


def test_a_read_waits_for_the_end(service: Service, job: Job) -> None:
    with in_background(service, "GET", f"/animations/{job.id}", headers={"Prefer": "wait=20"}) as answer:
        wait_until(lambda: is_watched(service), "the request waits")
        claim = service.job_store.claim(job.id, "a worker")
        assert claim
        service.job_store.heartbeat(job.id, claim.fence, 10)
        service.job_store.commit(job.id, claim.fence, job_result())

    assert answer.response.status_code == 200
    assert answer.response.headers["preference-applied"] == "wait=20"
    assert answer.body()["status"] == "succeeded"
    assert not is_watched(service)


def test_a_read_of_a_known_version_waits_for_the_next(service: Service, job: Job) -> None:
    path = f"/animations/{job.id}"
    known = service.http.get(path).headers["etag"]
    with in_background(service, "GET", path, headers={"Prefer": "wait=20", "If-None-Match": known}) as answer:
        wait_until(lambda: is_watched(service), "the request waits")
        service.job_store.claim(job.id, "a worker")

    assert answer.body()["status"] == "processing"


def test_when_nothing_happens_the_answer_comes_in_time(service: Service, job: Job) -> None:
    path = f"/animations/{job.id}"
    response = service.http.get(path, headers={"Prefer": "wait=1"})
    assert (response.status_code, response.json()["status"]) == (200, "queued")
    assert response.headers["retry-after"] == "2"

    headers = {"Prefer": "wait=1", "If-None-Match": response.headers["etag"]}
    unchanged = service.http.get(path, headers=headers)
    assert unchanged.status_code == 304
    assert unchanged.headers["preference-applied"] == "wait=1"


def test_what_has_ended_is_answered_at_once(service: Service, job: Job) -> None:
    service.job_store.cancel(job.id)
    path = f"/animations/{job.id}"
    response = service.http.get(path, headers={"Prefer": "wait=30"}, timeout=20)
    assert response.json()["status"] == "canceled"
    headers = {"Prefer": "wait=30", "If-None-Match": response.headers["etag"]}
    assert service.http.get(path, headers=headers, timeout=20).status_code == 304


def test_an_upload_waits_for_its_result(service: Service, files: dict[str, tuple[str, bytes]]) -> None:
    with in_background(service, "POST", "/animations", files=files, headers={"Prefer": "wait=20"}) as answer:
        wait_until(lambda: is_watched(service), "the request waits")
        assert service.uploaded_files() == [], "the upload is over: only the answer is held back"
        [job] = service.job_store.page(10)
        # The doorbell was rung before: a worker has to hear of it while the client waits.
        assert service.redis.llen(f"animato:queue:{QUEUE_NAME}") == 1
        claim = service.job_store.claim(job.id, "a worker")
        assert claim
        service.job_store.commit(job.id, claim.fence, job_result())

    assert answer.response.status_code == 200
    assert answer.response.headers["preference-applied"] == "wait=20"
    assert answer.response.headers["location"] == f"/animations/{job.id}"
    assert answer.body()["status"] == "succeeded"
    assert "retry-after" not in answer.response.headers


def test_an_upload_whose_result_takes_longer_is_accepted(service: Service, files: dict[str, tuple[str, bytes]]) -> None:
    response = service.http.post("/animations", files=files, headers={"Prefer": "wait=1"})
    assert response.status_code == 202
    assert response.json()["status"] == "queued"
    assert response.headers["preference-applied"] == "wait=1"


def test_who_waits_holds_no_thread(service: Service, job: Job) -> None:
    """More requests wait than there are threads, and others are answered meanwhile."""
    answers: list[int] = []
    path = f"http://127.0.0.1:{service.port}/animations/{job.id}"
    waiters = [
        threading.Thread(
            target=lambda: answers.append(httpx.get(path, headers={"Prefer": "wait=30"}, timeout=60).status_code)
        )
        for _ in range(60)
    ]
    for waiter in waiters:
        waiter.start()
    watched = service.app.state.services.watcher._watched
    wait_until(lambda: sum(entry.watchers for entry in watched.values()) == 60, "all wait")

    assert service.http.get(f"/animations/{job.id}", timeout=10).status_code == 200

    service.job_store.cancel(job.id)
    for waiter in waiters:
        waiter.join(30)
    assert answers == [200] * 60
