"""The doorbell: what is in a message, and what Celery is told."""

from __future__ import annotations

import base64
import json

import pytest
import redis

from worker.errors import QueueUnavailable
from worker.job_queue import QUEUE_NAME, make_queue, ring
from worker.jobs import TASK_NAME, new_id
from worker.settings import Settings


def test_a_message_holds_one_id_and_nothing_else(settings: Settings) -> None:
    job_id = new_id()
    ring(make_queue(settings), job_id)
    client = redis.Redis.from_url(settings.redis_url, decode_responses=True)
    (message,) = client.lrange(f"animato:queue:{QUEUE_NAME}", 0, -1)  # pyright: ignore
    client.close()
    envelope = json.loads(message)
    arguments, named, _ = json.loads(base64.b64decode(envelope["body"]))
    assert (arguments, named, envelope["headers"]["task"]) == ([job_id], {}, TASK_NAME)
    assert envelope["content-type"] == "application/json"


def test_the_task_is_registered_under_the_name_that_is_rung() -> None:
    from worker.engine import tasks

    assert TASK_NAME in tasks.queue.tasks


def test_redis_away_is_a_clear_error(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": f"unix://{settings.data_dir}/nobody.sock"})
    with pytest.raises(QueueUnavailable):
        ring(make_queue(away, only_rings=True), new_id())


def test_options_that_lose_no_job(settings: Settings) -> None:
    conf = make_queue(settings).conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_pool == "prefork", "the only pool that enforces time limits"
    assert conf.worker_proc_alive_timeout >= 60, "4 s by default: a slow start would be killed for ever"
    assert conf.broker_transport_options["visibility_timeout"] >= 2 * conf.task_time_limit
    assert conf.accept_content == ["json"]
    assert conf.broker_connection_max_retries is None


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("unix:///data/redis.sock", "redis+socket:///data/redis.sock?virtual_host=0"),
        ("unix:///data/redis.sock?db=3", "redis+socket:///data/redis.sock?virtual_host=3"),
        ("redis://:secret@redis:6379/1", "redis://:secret@redis:6379/1"),
    ],
)
def test_broker_url(settings: Settings, url: str, broker: str) -> None:
    assert make_queue(settings.model_copy(update={"redis_url": url})).conf.broker_url == broker
