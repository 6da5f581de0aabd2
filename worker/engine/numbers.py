"""The numbers of a worker for Prometheus, served by its parent: `ANIMATO_WORKER_METRICS_PORT`.

The children, one a place of the pool, each write to their own part of a piece of memory that they share with the
parent since the fork; the parent only reads. So a child that is killed loses nothing, its successor goes on counting
at the same place, and nothing has to be locked or written to a disk. (prometheus_client's own way for several
processes keeps files that somebody has to clear away.)
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from worker import logs
from worker.engine.stages import STAGES, Stages
from worker.settings import Settings

_NUMBER = struct.Struct("d")
_FIELDS = (
    *("at_work", "jobs", "frames", "model_loads", "model_load_s", "memory_allocated_bytes", "memory_reserved_bytes"),
    *(f"{stage}_s" for stage in STAGES),
)


log = logs.get_logger(__name__)


class WorkerNumbers(Collector):
    """Made in the parent before it forks."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._is_served = False
        self._memory = mmap.mmap(-1, _NUMBER.size * len(_FIELDS) * places)  # anonymous: shared with forked children

    @contextmanager
    def at_work(self, place: int) -> Iterator[None]:
        """The child at `place` has a message in hand; one that is killed then, until its successor has had one."""
        self._write(place, "at_work", 1)
        try:
            yield
        finally:
            self._write(place, "at_work", 0)

    def is_idle(self) -> bool:
        """Whether no child has a message in hand."""
        return not self._sum("at_work")

    def job_done(self, place: int, stages: Stages, frames: int, memory: tuple[int, int] = (0, 0)) -> None:
        """Count an animation that the child at `place` has finished; `memory` of its device is allocated, reserved."""
        self._add(place, "jobs", 1)
        self._add(place, "frames", frames)
        for stage, seconds in stages.seconds.items():
            self._add(place, f"{stage}_s", seconds)
        for field, size_bytes in zip(("memory_allocated_bytes", "memory_reserved_bytes"), memory, strict=True):
            self._write(place, field, size_bytes)

    def model_loaded(self, place: int, took_s: float) -> None:
        """Count a network that was put onto the device."""
        self._add(place, "model_loads", 1)
        self._add(place, "model_load_s", took_s)

    def serve_if_wanted(self, settings: Settings) -> None:
        """Answer Prometheus, when there is a port for it; once. A port that is taken is no reason not to work."""
        if settings.worker_metrics_port and not self._is_served:
            self._is_served = True
            try:
                self.serve(settings.worker_metrics_host, settings.worker_metrics_port)
            except OSError as error:
                log.error("worker_metrics_not_served", port=settings.worker_metrics_port, cause=repr(error))

    def serve(self, host: str, port: int) -> int:
        """Answer `GET /metrics` from a thread from now on; the port."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        server, _thread = start_http_server(port, addr=host, registry=registry)
        return server.server_port

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is, is known when it is asked for."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All families, over all children."""
        jobs = int(self._sum("jobs"))
        stages = SummaryMetricFamily(
            "animato_job_run_duration_seconds",
            "Time in each stage of the animations that succeeded.",
            labels=["stage"],
        )
        for stage in STAGES:
            stages.add_metric([stage], count_value=jobs, sum_value=self._sum(f"{stage}_s"))
        memory = GaugeMetricFamily(
            "animato_gpu_memory_bytes", "Device memory of each child after its last job.", labels=["place", "kind"]
        )
        for place in range(self._places):
            for kind in ("allocated", "reserved"):
                memory.add_metric([str(place), kind], self._read(place, f"memory_{kind}_bytes"))
        yield stages
        yield CounterMetricFamily("animato_frames_processed", "Frames drawn.", value=self._sum("frames"))
        yield SummaryMetricFamily(
            "animato_model_load_seconds",
            "From nothing to a network on the device.",
            count_value=int(self._sum("model_loads")),
            sum_value=self._sum("model_load_s"),
        )
        yield memory

    def _sum(self, field: str) -> float:
        return sum(self._read(place, field) for place in range(self._places))

    def _add(self, place: int, field: str, by: float) -> None:
        self._write(place, field, self._read(place, field) + by)

    def _read(self, place: int, field: str) -> float:
        return _NUMBER.unpack_from(self._memory, self._offset(place, field))[0]

    def _write(self, place: int, field: str, value: float) -> None:
        _NUMBER.pack_into(self._memory, self._offset(place, field), value)

    def _offset(self, place: int, field: str) -> int:
        return _NUMBER.size * (place % self._places * len(_FIELDS) + _FIELDS.index(field))
