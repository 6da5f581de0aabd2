"""Estimates: how a queue runs in thought, and what clients are told of it."""

from __future__ import annotations

import math
from collections.abc import Callable

from api.forecast import Forecast, forecast
from tests.api.conftest import Service, assert_problem
from tests.api.event_source import follow
from tests.conftest import job_result, wait_until
from worker.backlog import Backlog, Work
from worker.jobs import AnimationOptions, Job, JobInput, new_id
from worker.settings import Settings

SPEEDS = {"slow": 10.0, "fast": 100.0}


def run(running: list[Work], queued: list[Work], slots: int) -> Forecast:
    return forecast(Backlog(running, queued, SPEEDS), slots)


def test_one_worker_does_one_after_the_other() -> None:
    seen = run([Work("a", "slow", 50)], [Work("b", "slow", 100), Work("c", "fast", 100)], 1)
    assert seen.ends_s == {"b": 15.0, "c": 16.0}
    assert (seen.slot_free_s, seen.tail_s) == (5.0, 16.0)


def test_each_takes_the_slot_that_is_free_first() -> None:
    queued = [Work("b", "slow", 100), Work("c", "slow", 20), Work("d", "slow", 20)]
    seen = run([Work("a", "slow", 50)], queued, 2)
    assert seen.ends_s == {"b": 10.0, "c": 7.0, "d": 9.0}
    assert seen.slot_free_s == 0.0


def test_what_is_not_known_is_infinite_and_only_that() -> None:
    queued = [Work("b", "new", 1), Work("c", "fast", 100), Work("d", "fast", 100)]
    assert run([], queued, 1).ends_s == {"b": math.inf, "c": math.inf, "d": math.inf}
    assert run([], queued, 2).ends_s == {"b": math.inf, "c": 1.0, "d": 2.0}
    assert run([], [Work("c", "fast", 100)], 0).ends_s == {"c": math.inf}
    assert run([], [], 0).tail_s == math.inf


def test_leases_of_killed_workers_take_no_slot_that_exists() -> None:
    running = [Work(name, "slow", 100) for name in "abc"]
    assert run(running, [Work("d", "slow", 10)], 1).ends_s == {"d": 11.0}


def submit(service: Service, job_input: JobInput, model: str = "avatars-256") -> Job:
    return service.job_store.submit(new_id(), job_input, AnimationOptions(model=model))


def claim(service: Service, job: Job) -> int:
    claimed = service.job_store.claim(job.id, "a worker")
    assert claimed
    return claimed.fence


def eta(service: Service, job: Job) -> int | None:
    return service.http.get(f"/animations/{job.id}").json()["eta_s"]


def test_clients_are_told(serve: Callable[..., Service], settings: Settings, job_input: JobInput) -> None:
    service = serve(settings=settings, housekeeping_interval_s=3600)
    first, second = submit(service, job_input), submit(service, job_input)
    assert eta(service, first) is None, "nothing has been measured, and there is no worker"

    service.redis.hset("animato:speeds", "avatars-256", "10")
    service.job_store.announce_worker("one", 1)
    wait_until(lambda: eta(service, first) == 10, "100 frames at 10 a second")
    wait_until(lambda: eta(service, second) == 20, "and then 100 more")

    fence = claim(service, first)
    service.job_store.heartbeat(first.id, fence, 75)
    assert eta(service, first) == 3
    wait_until(lambda: eta(service, second) == 13, "the rest of the first one is less by now")
    with follow(service.http, second.id) as source:
        assert next(iter(source)).data["eta_s"] == 13
    third = submit(service, job_input)
    assert eta(service, third) == 23, "also for one that has only just joined the queue"

    service.job_store.commit(first.id, fence, job_result())
    assert eta(service, first) is None
    other = submit(service, job_input, "another-model")
    wait_until(lambda: eta(service, second) is not None, "the speed was measured anew")
    assert eta(service, other) is None, "of this model nothing is known"


def test_the_estimate_is_no_part_of_the_entity_tag(
    serve: Callable[..., Service], settings: Settings, job_input: JobInput
) -> None:
    service = serve(settings=settings, housekeeping_interval_s=3600)
    job = submit(service, job_input)
    path = f"/animations/{job.id}"
    tag = service.http.get(path).headers["etag"]
    assert tag.startswith('W/"')

    service.redis.hset("animato:speeds", "avatars-256", "10")
    service.job_store.announce_worker("one", 1)
    wait_until(lambda: eta(service, job) == 10, "the estimate is there")
    assert service.http.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_a_full_queue_says_when_a_place_is_free(
    serve: Callable[..., Service], settings: Settings, job_input: JobInput, files: dict[str, tuple[str, bytes]]
) -> None:
    service = serve(settings=settings, max_queued=1, housekeeping_interval_s=3600)
    running = submit(service, job_input)
    claim(service, running)
    submit(service, job_input)
    assert_problem(service.post(files), 429, "queue_full")
    assert service.post(files).headers["retry-after"] == "5"

    service.redis.hset("animato:speeds", "avatars-256", "2.5")
    service.job_store.announce_worker("one", 1)
    wait_until(lambda: service.post(files).headers["retry-after"] == "40", "the running one takes 40 s")
