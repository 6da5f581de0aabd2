"""Log lines and spans of jobs that one child runs one after the other: each says whose it is, and nothing stays."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from worker import logs, tracing
from worker.engine import tasks
from worker.engine.animation import AnimationReport
from worker.errors import EncodingFailed, MediaRejected
from worker.jobs import AnimationOptions, JobContext, JobInput, JobState, new_id
from worker.settings import Settings
from worker.storage import Storage

TRACES = ("0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319d")


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    """The JSON lines that were logged since the last call."""
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    logs.configure("INFO")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)

    def new_lines() -> list[dict[str, object]]:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [json.loads(line) for line in text.splitlines()]

    yield new_lines
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def run(
    settings: Settings, storage: Storage, job_input: JobInput, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Submits an animation and runs it here, with something in place of the network; its id."""
    state = tasks.WorkerProcess(settings.model_copy(update={"retry_backoff_s": 0.0}))
    monkeypatch.setattr(state, "animator", lambda _name: None)
    monkeypatch.setattr(tasks, "settings", state.settings)
    monkeypatch.setattr(tasks, "process", state)

    def call(context: JobContext, drawing: Callable[..., AnimationReport]) -> str:
        monkeypatch.setattr(tasks, "animate_video", drawing)
        job_id = new_id()
        keys = {f"{name}_key": f"animations/{job_id}/{name}" for name in ("source", "driving")}
        for key in keys.values():
            storage.put_bytes(key, b"x")
        state.store.submit(job_id, job_input.model_copy(update=keys), AnimationOptions(), context)
        tasks.animate(job_id)
        return job_id

    yield call
    state.store.close()


def draws(_source, _driving, _facts, output, *_, **__) -> AnimationReport:
    logging.getLogger("some.library").info("a line of a library")
    output.write_bytes(b"result")
    return AnimationReport(100, "25/1", 256, 256, 4.0, False, "0,0,256,256", "0,0,256,256", 0, ())


def fails(*_, **__) -> AnimationReport:
    raise MediaRejected("The video is damaged.")


def crashes(*_, **__) -> AnimationReport:
    raise RuntimeError("a defect")


def test_every_line_says_whose_it_is_and_nothing_stays(run: Callable[..., str], lines: Callable[..., list]) -> None:
    contexts = [
        JobContext(request_id=f"req_{number}", traceparent=f"00-{trace}-b7ad6b7169203331-01")
        for number, trace in enumerate(TRACES)
    ]
    for drawing in (draws, fails, crashes):
        for context in (*contexts, JobContext()):
            job_id = run(context, drawing)
            written = lines()
            assert len(written) >= 2
            assert {line.get("animation_id") for line in written} == {job_id}
            assert {line.get("request_id") for line in written} == {context.request_id}
            assert {line.get("attempt") for line in written} == {1}
            assert all(str(line["worker"]).count("/") == 2 for line in written)
            trace = context.traceparent.split("-")[1] if context.traceparent else None
            assert {line.get("trace_id") for line in written} == {trace}
            logs.get_logger("after").info("after_the_job")
            (line,) = lines()
            assert {"animation_id", "request_id", "attempt", "fence", "worker", "trace_id"} & set(line) == set()


def test_where_the_time_went_is_in_the_last_line(run: Callable[..., str], lines: Callable[..., list]) -> None:
    run(JobContext(), draws)
    (done,) = [line for line in lines() if line["event"] == "animation_succeeded"]
    assert {"download_ms", "decode_ms", "infer_ms", "encode_ms", "upload_ms"} <= set(done)


def test_spans_of_a_job_hang_below_the_request(run: Callable[..., str]) -> None:
    exporter = InMemorySpanExporter()
    tracing.set_up("test", exporter)
    try:
        run(JobContext(traceparent=f"00-{TRACES[0]}-b7ad6b7169203331-01"), draws)
        run(JobContext(traceparent=f"00-{TRACES[1]}-b7ad6b7169203331-01"), crashes)
    finally:
        tracing.shut_down()
    spans = exporter.get_finished_spans()
    first = [span for span in spans if span.context and f"{span.context.trace_id:032x}" == TRACES[0]]
    assert [span.name for span in first] == ["download", "animate", "upload", "animation"]
    animation = first[-1]
    assert animation.context
    assert animation.parent
    assert f"{animation.parent.span_id:016x}" == "b7ad6b7169203331"
    assert all(span.parent and span.parent.span_id == animation.context.span_id for span in first[:-1])
    second = [span for span in spans if span not in first]
    assert [span.name for span in second] == ["download", "animate", "animation"]
    assert second[1].status.description == "RuntimeError"


def test_an_attempt_that_is_tried_again_is_another_one(
    run: Callable[..., str], lines: Callable[..., list], settings: Settings
) -> None:
    def encodes_badly(*_, **__) -> AnimationReport:
        raise EncodingFailed("The result could not be encoded.")

    job_id = run(JobContext(), encodes_badly)
    assert {line["attempt"] for line in lines()} == {1}
    assert tasks.process.store.get(job_id).state is JobState.QUEUED  # pyright: ignore[reportOptionalMemberAccess]
    tasks.animate(job_id)
    assert {line["attempt"] for line in lines()} == {2}
