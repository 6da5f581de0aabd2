"""A queue that is full says so before anybody uploads in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx

from tests.api.conftest import Service, assert_problem
from tests.conftest import wait_until
from worker.jobs import AnimationOptions, JobInput, new_id
from worker.settings import Settings

Files = dict[str, tuple[str, bytes]]


def test_a_full_queue_refuses_before_the_upload(
    serve: Callable[..., Service], settings: Settings, files: Files
) -> None:
    service = serve(settings=settings, max_queued=2)
    for key in ("one", "two"):
        assert service.http.post("/animations", files=files, headers={"Idempotency-Key": key}).status_code == 202

    assert_problem(service.post(files), 429, "queue_full")
    # A request that was accepted before is no new one.
    assert service.http.post("/animations", files=files, headers={"Idempotency-Key": "two"}).status_code == 202

    service.job_store.cancel(service.job_store.page(1)[0].id)
    assert service.post(files).status_code == 202


def test_a_queue_that_fills_up_during_the_upload(
    serve: Callable[..., Service], settings: Settings, files: Files, job_input: JobInput
) -> None:
    service = serve(settings=settings, max_queued=1)
    request = httpx.Request("POST", "http://x", files=files)
    content, content_type = request.read(), request.headers["content-type"]

    def slowly() -> Iterator[bytes]:
        yield content[:-20]
        wait_until(lambda: bool(service.uploaded_files()), "the upload has begun")
        service.job_store.submit(new_id(), job_input, AnimationOptions())
        yield content[-20:]

    response = service.http.post("/animations", content=slowly(), headers={"Content-Type": content_type})

    assert_problem(response, 429, "queue_full")
    assert service.job_store.queue_depth() == 1
    assert list(service.storage.list_keys("animations")) == []
