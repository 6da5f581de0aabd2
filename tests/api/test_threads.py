"""Blocking calls: as many at once as there are threads, and the rest does not wait for ever."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.to_thread
import pytest

from api import threads
from api.errors import Unavailable
from api.threads import in_thread, in_thread_soon
from tests.api.conftest import Service
from worker.settings import Settings


def test_who_finds_no_thread_is_told_and_nothing_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE_S", 0.1)
    free, called = threading.Event(), []

    async def main() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_thread, free.wait)
            while not anyio.to_thread.current_default_thread_limiter().borrowed_tokens:
                await anyio.sleep(0)
            with pytest.raises(Unavailable) as refusal:
                await in_thread_soon(called.append, "too early")
            assert (refusal.value.code, refusal.value.http_status) == ("overloaded", 503)
            free.set()
        await in_thread_soon(called.append, "in time")
        assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0

    anyio.run(main)
    assert called == ["in time"]


def test_a_call_that_fails_gives_its_thread_back() -> None:
    def fail() -> None:
        raise KeyError("x")

    async def main() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        for _ in range(3):
            with pytest.raises(KeyError):
                await in_thread_soon(fail)
        assert limiter.borrowed_tokens == 0

    anyio.run(main)


def test_a_frozen_redis_does_not_make_a_line(
    serve: Callable[..., Service], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "PATIENCE_S", 0.2)
    service = serve(settings=settings.model_copy(update={"redis_timeout_s": 3.0}))
    server_pid: int = service.redis.info()["process_id"]  # pyright: ignore[reportIndexIssue]
    assert service.http.get("/animations").status_code == 200
    os.kill(server_pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(80) as callers:
            answers = list(callers.map(lambda _: service.http.get("/animations", timeout=60), range(80)))
        assert service.http.get("/healthz").status_code == 200
    finally:
        os.kill(server_pid, signal.SIGCONT)
    codes = [answer.json()["code"] for answer in answers]
    assert {answer.status_code for answer in answers} == {503}
    # Some wait for Redis, the others for none of them.
    assert set(codes) == {"queue_unavailable", "overloaded"}
    assert service.http.get("/animations").status_code == 200
