"""Traces by OpenTelemetry: one from a request through the queue to its worker. Off unless a collector is named.

`OTEL_EXPORTER_OTLP_ENDPOINT` (and the extra `tracing`) turn it on; the other `OTEL_*` variables are the SDK's. Without
them the spans here record nothing but pass a caller's `traceparent` on, so that its trace id is in our logs all the
same. Attributes are few: never an address, a query, a name of a file or a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from worker import logs
from worker.settings import tracing_endpoint

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_TRACER = "animato"
_provider: TracerProvider | None = None
log = logs.get_logger(__name__)


def set_up(service: str, exporter: SpanExporter | None = None) -> None:
    """Begin to send spans of this process, if that is wanted. Call it after a fork: the sender is a thread.

    `exporter` takes the place of the one to the collector; it gets each span at once.
    """
    global _provider  # noqa: PLW0603 - the process's own, as in the SDK, but it can be ended
    if _provider is not None or (exporter is None and not tracing_endpoint()):
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        _provider = TracerProvider(resource=Resource.create({"service.name": service}))
        if exporter is not None:
            _provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ImportError:
        log.warning("tracing_not_installed", hint="Install animato[tracing].")
        _provider = None


def shut_down() -> None:
    """Send what is left, and no more after it."""
    global _provider  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
        _provider = None


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, str | int | float] | None = None,
    *,
    traceparent: str | None = None,
    is_request: bool = False,
) -> Iterator[Span]:
    """A span around the block; below the one of `traceparent`, else below the one around it."""
    tracer = (_provider or trace.get_tracer_provider()).get_tracer(_TRACER)
    context = propagate.extract({"traceparent": traceparent}) if traceparent else None
    kind = SpanKind.SERVER if is_request else SpanKind.INTERNAL
    with tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            # The kind only: its message may name files.
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def current_traceparent() -> str | None:
    """What to hand on, so that others go on with this trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")
