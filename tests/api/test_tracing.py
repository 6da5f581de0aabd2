"""Traces of requests, and the trace that is handed on to the worker; off it is still handed on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.api.conftest import Service
from tests.conftest import wait_until
from worker import tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
Files = dict[str, tuple[str, bytes]]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.set_up("test", exporter)
    yield exporter
    tracing.shut_down()


def test_a_request_is_a_span_and_its_trace_goes_on(service: Service, files: Files, spans: InMemorySpanExporter) -> None:
    answer = service.http.post("/animations?secret=hidden", files=files, headers={"traceparent": TRACEPARENT})
    assert answer.status_code == 202, answer.text
    service.http.get(f"/animations/{answer.json()['id']}")
    wait_until(lambda: len(spans.get_finished_spans()) >= 2, "both requests have ended")
    looked, submitted = sorted(spans.get_finished_spans(), key=lambda one: one.name)

    assert submitted.name == "POST /animations"
    assert submitted.context
    assert f"{submitted.context.trace_id:032x}" == TRACE
    assert submitted.parent
    assert f"{submitted.parent.span_id:016x}" == "b7ad6b7169203331"
    assert looked.name == "GET /animations/{animation_id}"
    attributes = dict(submitted.attributes or {})
    assert attributes == {"http.route": "/animations", "http.response.status_code": 202}
    assert "hidden" not in submitted.to_json()
    job = service.job_store.get(answer.json()["id"])
    assert job
    assert job.context.traceparent == f"00-{TRACE}-{submitted.context.span_id:016x}-01"


def test_without_a_collector_the_trace_of_the_caller_goes_on(service: Service, files: Files) -> None:
    answer = service.http.post("/animations", files=files, headers={"traceparent": TRACEPARENT})
    job = service.job_store.get(answer.json()["id"])
    assert job
    assert job.context.traceparent == TRACEPARENT
    answer = service.post(files)
    job = service.job_store.get(answer.json()["id"])
    assert job
    assert job.context.traceparent is None


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-0", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 5000])
def test_a_broken_traceparent_is_ignored(service: Service, files: Files, header: str) -> None:
    answer = service.http.post("/animations", files=files, headers={"traceparent": header})
    assert answer.status_code == 202
    job = service.job_store.get(answer.json()["id"])
    assert job
    assert job.context.traceparent is None


def test_an_error_is_told_by_its_kind_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("work", {"frames": 3}):
        raise ValueError("/a/secret/path")
    (span,) = spans.get_finished_spans()
    assert span.status.description == "ValueError"
    assert "secret" not in json.dumps(span.to_json())
