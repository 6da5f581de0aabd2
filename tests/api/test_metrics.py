"""`GET /metrics`: the names, who may read them, labels that do not grow, and a Redis that is away."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Service, assert_problem
from tests.conftest import job_result
from worker.jobs import AnimationOptions, JobError, JobInput, new_id
from worker.settings import Settings

NAMES = {
    *("animato_http_requests_total", "animato_http_request_duration_seconds_bucket", "animato_upload_bytes_total"),
    *("animato_jobs_submitted_total", "animato_jobs_finished_total", "animato_job_queue_wait_seconds_bucket"),
    *("animato_job_duration_seconds_sum", "animato_job_attempts_total", "animato_jobs_redelivered_total"),
    *("animato_commits_fenced_total", "animato_queue_depth", "animato_queue_oldest_age_seconds"),
    *("animato_jobs_running", "animato_jobs_dead", "animato_workers_alive", "animato_worker_slots"),
    *("animato_storage_request_duration_seconds_count", "animato_build_info", "animato_queue_up"),
}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(service: Service, **headers: str) -> Samples:
    response = service.http.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_a_life_is_counted(service: Service, files: dict[str, tuple[str, bytes]], job_input: JobInput) -> None:
    before = scrape(service)
    accepted = service.post(files).json()["id"]
    store = service.job_store
    during = scrape(service)
    assert value(during, "animato_queue_depth") == 1
    claim = store.claim(accepted, "worker-a")
    assert claim
    assert value(scrape(service), "animato_jobs_running") == 1
    assert store.commit(accepted, claim.fence, job_result())
    assert not store.commit(accepted, claim.fence - 1, job_result())
    store.submit(failing := new_id(), job_input, AnimationOptions())
    claim = store.claim(failing, "worker-b")
    assert claim
    error = JobError(code="encoding_failed", detail="x", retryable=True)
    store.fail(failing, claim.fence, error, attempt=1)
    store.submit(poison := new_id(), job_input, AnimationOptions())
    claim = store.claim(poison, "worker-c")
    assert claim
    store.fail(poison, claim.fence, error.model_copy(update={"retryable": False}), attempt=1)
    store.submit(unwanted := new_id(), job_input, AnimationOptions())
    store.cancel(unwanted)
    after = scrape(service)

    assert {name for name, _ in after} >= NAMES

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("animato_jobs_submitted_total") == 4
    assert grown("animato_jobs_finished_total", status="succeeded", code="") == 1
    assert grown("animato_jobs_finished_total", status="failed", code="encoding_failed") == 1
    assert grown("animato_jobs_finished_total", status="canceled", code="") == 1
    assert grown("animato_job_attempts_total") == 3
    assert grown("animato_jobs_redelivered_total", reason="retry") == 1
    assert grown("animato_commits_fenced_total") == 1
    assert grown("animato_job_queue_wait_seconds_count") == 3
    assert grown("animato_job_queue_wait_seconds_bucket", le="+Inf") == 3
    assert grown("animato_job_duration_seconds_count") == 1
    assert value(after, "animato_jobs_dead") == 1
    assert grown("animato_http_requests_total", method="POST", route="/animations", status="202") == 1
    assert grown("animato_storage_request_duration_seconds_count", op="put") == 2
    assert grown("animato_upload_bytes_total") > len(files["driving_video"][1])


def test_routes_are_templates_and_labels_do_not_grow(service: Service) -> None:
    for _ in range(5):
        service.http.get(f"/animations/{new_id()}")
        service.http.get(f"/nothing/{new_id()}")
        service.http.request("BREW", f"/{new_id()}")
    text = service.http.get("/metrics").text
    assert not re.search("anm_", text)
    assert "BREW" not in text
    routes = {dict(labels)["route"] for name, labels in scrape(service) if name == "animato_http_requests_total"}
    assert "/animations/{animation_id}" in routes
    assert "none" in routes
    assert len(routes) < 20


def test_the_oldest_of_the_queue_grows_older(service: Service, job_input: JobInput) -> None:
    assert value(scrape(service), "animato_queue_oldest_age_seconds") == 0
    service.job_store.submit(new_id(), job_input, AnimationOptions())
    assert 0 <= value(scrape(service), "animato_queue_oldest_age_seconds") < 60


def test_without_redis_the_rest_is_still_shown(
    serve: Callable[..., Service], settings: Settings, tmp_path: Path
) -> None:
    away = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock", "redis_timeout_s": 1.0})
    service = serve(settings=away, metrics_token="s3cret")
    samples = scrape(service, Authorization="Bearer s3cret")
    assert value(samples, "animato_queue_up") == 0
    assert "animato_build_info" in {name for name, _ in samples}
    assert "animato_queue_depth" not in {name for name, _ in samples}


def test_a_token_opens_the_metrics_and_nothing_else(serve: Callable[..., Service]) -> None:
    service = serve(metrics_token="s3cret")
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    assert_problem(service.http.get("/metrics", headers=elsewhere), 403, "anonymous_not_allowed")
    wrong = {**elsewhere, "Authorization": "Bearer s3cre"}
    assert_problem(service.http.get("/metrics", headers=wrong), 401, "unauthorized")
    right = {**elsewhere, "Authorization": "Bearer s3cret"}
    assert service.http.get("/metrics", headers=right).status_code == 200
    assert_problem(service.http.get("/animations", headers=right), 401, "unauthorized")
