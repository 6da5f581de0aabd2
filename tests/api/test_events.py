"""The event stream: every change once, heartbeats between them, and an orderly end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import httpx
import pytest

from tests.api.conftest import Service, assert_problem
from tests.api.event_source import Event, follow
from tests.api.server_process import server_process
from tests.conftest import job_result, wait_until
from worker.job_store import JobStore
from worker.jobs import AnimationOptions, Job, JobInput, JobState, new_id
from worker.settings import Settings


@pytest.fixture
def job(service: Service, job_input: JobInput) -> Job:
    """A queued animation."""
    return service.job_store.submit(new_id(), job_input, AnimationOptions(model="avatars-256"))


def claim(store: JobStore, job: Job) -> int:
    claimed = store.claim(job.id, "a worker")
    assert claimed
    return claimed.fence


def run_to_its_end(store: JobStore, job: Job) -> Job:
    fence = claim(store, job)
    store.heartbeat(job.id, fence, 42)
    assert store.commit(job.id, fence, job_result())
    ended = store.get(job.id)
    assert ended
    return ended


def test_every_change_is_told_and_the_end_closes(service: Service, job: Job) -> None:
    store = service.job_store
    with follow(service.http, job.id) as source:
        events = iter(source)
        assert source.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert source.response.headers["x-accel-buffering"] == "no"
        assert "no-store" in source.response.headers["cache-control"]

        first = next(events)
        assert (first.name, first.id, first.data["status"]) == ("status", 1, "queued")
        fence = claim(store, job)
        assert next(events) == Event("status", 2, service.http.get(f"/animations/{job.id}").json())
        store.heartbeat(job.id, fence, 42)
        assert next(events) == Event(
            "progress", 3, {"percent": 42, "frames_done": 42, "frames_total": 100, "eta_s": None}
        )
        store.cancel(job.id)
        assert next(events).data["cancel_requested"] is True
        store.stop_canceled(job.id, fence)
        end = next(events)
        assert (end.name, end.data["status"]) == ("end", "canceled")
        assert list(events) == [], "the stream is closed"


def test_a_client_that_comes_back_misses_nothing_and_gets_nothing_twice(service: Service, job: Job) -> None:
    with follow(service.http, job.id) as source:
        seen = next(iter(source)).id
    fence = claim(service.job_store, job)
    service.job_store.heartbeat(job.id, fence, 10)

    with follow(service.http, job.id, seen) as source:
        events = iter(source)
        # Both changes in one event: a progress alone would hide that a worker has begun.
        status = next(events)
        assert (status.name, status.id) == ("status", 3)
        assert status.data["status"] == "processing"
        assert status.data["progress"]["frames_done"] == 10

    with follow(service.http, job.id, 3) as source:
        service.job_store.heartbeat(job.id, fence, 20)
        event = next(iter(source))
        assert event.id == 4
    assert service.job_store.commit(job.id, fence, job_result())
    with follow(service.http, job.id, 4) as source:
        assert [(event.name, event.id) for event in source] == [("end", 5)]

    # A browser connects again after every close; 204 tells it not to.
    over = service.http.get(f"/animations/{job.id}/events", headers={"Last-Event-ID": "5"})
    assert (over.status_code, over.content) == (204, b"")


@pytest.mark.parametrize("last", ["", "x", "-1", "1.5", "99", "9" * 400, "\x7f", "٣"])
def test_an_id_that_is_none_of_ours_begins_at_the_present(service: Service, job: Job, last: str) -> None:
    run_to_its_end(service.job_store, job)

    with service.http.stream(
        "GET", f"/animations/{job.id}/events", headers=[(b"Last-Event-ID", last.encode())]
    ) as response:
        assert response.status_code == 200
        assert "event: end" in response.read().decode()


def test_a_heartbeat_keeps_the_connection_alive(
    serve: Callable[..., Service], settings: Settings, job_input: JobInput
) -> None:
    service = serve(settings=settings, events_heartbeat_s=0.05)
    job = service.job_store.submit(new_id(), job_input, AnimationOptions())

    with follow(service.http, job.id) as source:
        lines = source.response.iter_lines()
        while next(lines) != ": ping":
            pass
        service.job_store.cancel(job.id)
        assert "event: end" in list(lines)


def test_many_watch_the_same_with_one_look_at_redis(service: Service, job: Job) -> None:
    claim(service.job_store, job)
    endings: list[list[Event]] = []

    def watch() -> None:
        with follow(service.http, job.id) as source:
            endings.append(list(source))

    service.redis.config_resetstat()
    threads = [threading.Thread(target=watch) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: _watchers(service) == 20, "all are connected")
    reads_before = _calls(service, "hget")
    wait_until(lambda: _calls(service, "hget") >= reads_before + 2, "the watcher has looked twice more")
    looks = _calls(service, "hget") - reads_before
    assert looks < 20, f"{looks} reads for 20 clients"
    service.job_store.cancel(job.id)
    service.job_store.stop_canceled(job.id, 1)
    for thread in threads:
        thread.join(20)

    assert [events[-1].name for events in endings] == ["end"] * 20
    wait_until(lambda: not _watchers(service), "nobody is watched any more")


def test_a_client_that_goes_away_leaves_nothing_behind(service: Service, job: Job) -> None:
    with follow(service.http, job.id) as source:
        events = iter(source)
        next(events)
        assert _watchers(service) == 1

    wait_until(lambda: not _watchers(service), "the watch is over")
    wait_until(lambda: not service.server.server_state.tasks, "the request has ended")


def test_a_deleted_animation_ends_the_stream(service: Service, job: Job) -> None:
    with follow(service.http, job.id) as source:
        events = iter(source)
        next(events)
        service.redis.delete(f"animato:job:{job.id}")
        assert list(events) == []
    assert_problem(service.http.get(f"/animations/{job.id}/events"), 404, "animation_not_found")


def test_the_stream_outlives_a_redis_that_is_away(service: Service, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with follow(service.http, job.id) as source:
        events = iter(source)
        next(events)
        service.redis.config_set("timeout", 0)
        service.redis.client_kill_filter(_type="normal", skipme=True)
        service.job_store.cancel(job.id)
        assert next(events).name == "end"


def test_a_stopping_server_closes_its_streams(settings: Settings, job_store: JobStore, job_input: JobInput) -> None:
    job = job_store.submit(new_id(), job_input, AnimationOptions())
    with server_process(settings) as server, httpx.Client(base_url=server.url, timeout=40) as http:
        with follow(http, job.id) as source:
            events = iter(source)
            assert next(events).data["status"] == JobState.QUEUED
            server.process.send_signal(signal.SIGTERM)
            assert list(events) == [], "closed without `end`: the client connects again, to another process"
        assert server.process.wait(20) in (0, -signal.SIGTERM)


def _watchers(service: Service) -> int:
    watched = service.app.state.services.watcher._watched
    return sum(entry.watchers for entry in watched.values())


def _calls(service: Service, command: str) -> int:
    stats: dict[str, dict[str, int]] = service.redis.info("commandstats")  # pyright: ignore[reportAssignmentType]
    return stats.get(f"cmdstat_{command}", {}).get("calls", 0)
