"""The doorbell: Celery on Redis. A message holds one animation id and nothing else; the truth is in `job_store`.

The only file that imports Celery. The numbers and why they are so: docs/decisions/0001-doorbell-and-record.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from billiard.process import current_process
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded as TimeLimitReached
from celery.signals import setup_logging, worker_process_shutdown, worker_ready, worker_shutdown
from celery.worker import state
from celery.worker.request import Request
from kombu.exceptions import OperationalError

from worker import logs, tracing
from worker.errors import QueueUnavailable
from worker.jobs import QUEUE_KEY_PREFIX, QUEUE_NAME, TASK_NAME
from worker.pulse import Pulse
from worker.settings import Settings

__all__ = ["Delivery", "TimeLimitReached", "make_queue", "pool_index", "ring"]


log = logs.get_logger(__name__)


class Presence(Protocol):
    """Who wants to know that a worker lives."""

    def beat(self) -> None:
        """Called every two seconds."""
        ...

    def end(self) -> None:
        """Called when the worker ends in good order."""
        ...


_IMPATIENT = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
"""How kombu connects: by default it tries for seconds, and here the housekeeper rings again anyway."""

_BEAT_S = 2.0
_LOOK_AT_CHILDREN_S = 0.5
_IS_IDLE_AGAIN_S, _QUIET_LOOKS = 0.2, 3


class Delivery(Request):
    """A message whose acknowledgement does not fail quietly.

    When Redis is away at that moment Celery logs it and goes on. But then the message counts as being worked on for
    ever, and a worker that may have only one at a time never asks for another. Raised in its loop, the error makes the
    worker connect anew.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "connection_errors": ()})


def make_queue(
    settings: Settings,
    *,
    only_rings: bool = False,
    presence: Presence | None = None,
    when_ready: Callable[[], None] | None = None,
    is_idle: Callable[[], bool] | None = None,
) -> Celery:
    """The Celery application: the worker listens with it, the API `only_rings` and does not wait for a lost broker.

    `presence` is told in the worker's parent that it lives, and at last that it ends; `when_ready` is
    called there when the worker listens, also after each reconnection; `is_idle` is asked there, when the worker has to
    go by SIGQUIT, whether its children have finished.
    """
    hard_limit_s = settings.job_time_limit_s + 30
    visibility_timeout_s = round(2 * hard_limit_s)
    app = Celery("animato", broker=_broker_url(settings.redis_url))
    app.conf.update(
        task_default_queue=QUEUE_NAME,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # Acknowledged after the work; a child that dies gives its message back at once, and `claim` counts attempts.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_soft_time_limit=settings.job_time_limit_s,
        task_time_limit=hard_limit_s,
        # Only prefork enforces time limits and replaces a child whose CUDA context is broken. One child a device; the
        # parent never imports torch, because a forked child cannot use a CUDA context of its parent.
        worker_pool="prefork",
        worker_concurrency=settings.worker_concurrency,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=200,
        # A replaced child that takes longer than this to report is killed, for ever: far above any start-up.
        worker_proc_alive_timeout=300,
        worker_soft_shutdown_timeout=settings.shutdown_grace_s,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": visibility_timeout_s,
            "socket_timeout": settings.redis_timeout_s if only_rings else 30,
            **(_IMPATIENT if only_rings else {}),
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "global_keyprefix": QUEUE_KEY_PREFIX,
        },
        result_backend_transport_options={"visibility_timeout": visibility_timeout_s},
        visibility_timeout=visibility_timeout_s,
    )
    setup_logging.connect(_configure_logging, weak=False)
    pulse = Pulse(settings.data_dir / "worker-alive")
    worker_ready.connect(lambda sender, **_: pulse.follow(sender), weak=False)
    # The parent's own timer beats while a child works: a health check never takes a long job for a dead worker.
    _call_often(_BEAT_S, lambda _consumer: pulse.beat())
    _call_often(_LOOK_AT_CHILDREN_S, _look_at_children)
    if presence is not None:
        _call_often(_BEAT_S, lambda _consumer: presence.beat())
        worker_shutdown.connect(lambda **_: presence.end(), weak=False)
    if when_ready is not None:
        worker_ready.connect(lambda **_: when_ready(), weak=False)
    _without_events(app)
    if is_idle is not None:
        _go_when_idle(app, is_idle, presence)
    worker_process_shutdown.connect(lambda **_: tracing.shut_down(), weak=False)
    app.set_default()
    return app


def ring(queue: Celery, job_id: str) -> None:
    """Tell the workers that `job_id` waits. Raises QueueUnavailable; the record waits for the housekeeper then."""
    try:
        queue.send_task(TASK_NAME, args=[job_id], queue=QUEUE_NAME, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        raise QueueUnavailable("The queue does not answer.", hint="Try again in a moment.") from error


def _call_often(every_s: float, callback: Callable[[Any], None]) -> None:
    """Have the worker's parent call `callback` with its consumer, from when it listens on.

    Begun anew after each reconnection, which clears the timers.
    """

    def begin(sender: Any, **_: object) -> None:
        callback(sender)
        sender.hub.call_repeatedly(every_s, callback, sender)

    worker_ready.connect(begin, weak=False)


def _look_at_children(consumer: Any) -> None:
    """Look after the pool's children.

    Celery is told of a child's end when its pipe closes. That is a moment before the kernel has the exit code: on a
    busy machine it finds nobody dead then, and looks again only after 5 s.
    """
    consumer.pool.maintain_pool()


def _without_events(app: Celery) -> None:
    """Let the worker tell other workers nothing, whatever its command line says.

    Celery's own heartbeat is a message, sent by the parent's timer. When the broker goes just before it is due, the
    timer waits for the broker, for ever and without a word: the loop stands, so the loss is never noticed, no other
    timer beats, and a child that ends is not replaced.
    """
    celery_worker: Any = app.Worker

    class Silent(celery_worker):
        def prepare_args(self, **kwargs: Any) -> dict[str, Any]:
            silent = {"without_heartbeat": True, "without_gossip": True, "without_mingle": True}
            return {**super().prepare_args(**kwargs), **silent}

    app.Worker = Silent


def _go_when_idle(app: Celery, is_idle: Callable[[], bool], presence: Presence | None) -> None:
    """Let a worker that has to go wait for what it runs, and no longer, and then tell that it ends.

    Celery sleeps for all of the time that it may take, and says on this way nothing.
    """
    celery_worker: Any = app.Worker

    class Leaving(celery_worker):
        def wait_for_soft_shutdown(self) -> None:
            if state.active_requests:
                grace_s = app.conf.worker_soft_shutdown_timeout
                log.info("worker_finishes_first", grace_s=grace_s)
                _wait_until_idle(is_idle, grace_s)
            if presence is not None:
                presence.end()

    app.Worker = Leaving


def _wait_until_idle(is_idle: Callable[[], bool], at_most_s: float) -> None:
    give_up_at_s = time.monotonic() + at_most_s
    # A message that has just been handed to a child is not in its hands yet: so one look is not enough.
    quiet_looks = 0
    while quiet_looks < _QUIET_LOOKS and time.monotonic() < give_up_at_s:
        time.sleep(_IS_IDLE_AGAIN_S)
        quiet_looks = quiet_looks + 1 if is_idle() else 0


def pool_index() -> int:
    """The place of this process in the worker's pool, from 0."""
    return getattr(current_process(), "index", 0)


def _broker_url(redis_url: str) -> str:
    """kombu's spelling of a redis-py URL: a unix socket is `redis+socket://` there, and its database `virtual_host`."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={database}"


def _configure_logging(**_: object) -> None:
    logs.configure(Settings().log_level)
