"""What `GET /metrics` shows: this process's requests and uploads, and the animations of the whole service.

Names and labels are few and fixed: a route is its template, never a path; no ids, no clients. The numbers of animations
are read from Redis when they are asked for (`worker.job_counts`), so every API process shows the same ones: take their
maximum over processes, not their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

import redis
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from worker import logs
from worker.errors import QueueUnavailable
from worker.job_counts import Durations, read_job_counts
from worker.job_store import JobStore

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})

log = logs.get_logger(__name__)


class ApiMetrics:
    """The numbers of one application; safe to share between threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "animato_http_requests", "Requests that were answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "animato_http_request_duration_seconds",
            "From the first byte of a request's head to the last of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = Counter("animato_upload_bytes", "Bytes of bodies received.", registry=registry)
        self._storage_seconds = Histogram(
            "animato_storage_request_duration_seconds",
            "Calls of the object storage by this process.",
            ["op"],
            buckets=_SECONDS,
            registry=registry,
        )
        Info("animato_build", "The version that runs.", registry=registry).info({"version": version("animato")})
        ProcessCollector(registry=registry)

    def show_animations(self, job_store: JobStore, client: redis.Redis) -> None:
        """Show the numbers of all animations and workers too."""
        self._registry.register(_OfAnimations(job_store, client))

    def answered(self, method: str, route: str | None, status: int, received_bytes: int, took_s: float) -> None:
        """Count a request; `route` is the template of its path, None when none fits."""
        method, route = method if method in _METHODS else "other", route or "none"
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(took_s)
        self._received.inc(received_bytes)

    @contextmanager
    def storage_call(self, op: str) -> Iterator[None]:
        """Time a call of the storage, also one that fails."""
        with self._storage_seconds.labels(op).time():
            yield

    def exposition(self) -> bytes:
        """Everything, as text. Waits for Redis."""
        return generate_latest(self._registry)


class _OfAnimations(Collector):
    """Read anew each time; without Redis only `animato_queue_up 0` is left of it."""

    def __init__(self, job_store: JobStore, client: redis.Redis) -> None:
        self._job_store, self._client = job_store, client

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not wait for Redis."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All families."""
        up = GaugeMetricFamily("animato_queue_up", "Whether Redis answered.")
        try:
            yield from self._read()
        except QueueUnavailable:
            log.warning("metrics_without_queue")
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        yield up

    def _read(self) -> list[Metric]:
        counts, workers = read_job_counts(self._client), self._job_store.workers_alive()
        finished = CounterMetricFamily(
            "animato_jobs_finished", "Animations that ended, by state and error code.", labels=["status", "code"]
        )
        for (state, code), number in sorted(counts.finished.items()):
            finished.add_metric([state, code], number)
        redelivered = CounterMetricFamily(
            "animato_jobs_redelivered", "Animations that went to a worker again, by reason.", labels=["reason"]
        )
        for reason, number in sorted(counts.redelivered.items()):
            redelivered.add_metric([reason], number)
        return [
            CounterMetricFamily("animato_jobs_submitted", "Animations accepted.", value=counts.submitted),
            finished,
            CounterMetricFamily("animato_job_attempts", "Claims by workers.", value=counts.attempts),
            redelivered,
            CounterMetricFamily(
                "animato_commits_fenced", "Results that came too late and were refused.", value=counts.commits_fenced
            ),
            _histogram("animato_job_queue_wait_seconds", "From being due to the claim.", counts.queue_wait),
            _histogram("animato_job_duration_seconds", "From claim to commit, of those that succeeded.", counts.run),
            GaugeMetricFamily("animato_queue_depth", "Animations that wait.", value=counts.queued),
            GaugeMetricFamily(
                "animato_queue_oldest_age_seconds", "How long the oldest has been due.", value=counts.oldest_queued_s
            ),
            GaugeMetricFamily("animato_jobs_running", "Animations that a worker owns.", value=counts.running),
            GaugeMetricFamily("animato_jobs_dead", "Failed ones that nobody retried.", value=counts.dead),
            GaugeMetricFamily("animato_workers_alive", "Workers that told of themselves lately.", value=len(workers)),
            GaugeMetricFamily(
                "animato_worker_slots", "Animations that they can run at once.", value=sum(workers.values())
            ),
        ]


def _histogram(name: str, documentation: str, durations: Durations) -> HistogramMetricFamily:
    so_far, buckets = 0, []
    for end_s, count in durations.buckets:
        so_far += count
        buckets.append(("+Inf" if end_s == float("inf") else f"{end_s:g}", so_far))
    return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=durations.sum_s)
