"""What was recorded, as OpenTelemetry has it. To be imported where spans are sent: it loads the SDK."""

import logging
import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from skyloom.serving.traces.ids import new_span_id
from skyloom.serving.traces.underway import Recording, Span

SERVICE = "skyloom-serving"

_PATIENCE_S = 10.0
"""How long the collector may take for what is sent at once, all tries together."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Collector:
    """Takes spans by OTLP over HTTP (protobuf), at ``url`` or below it at ``/v1/traces``.

    Headers that it wants, and attributes of the resource, are read from the variables of the environment that OpenTelemetry
    names (``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_SERVICE_NAME``).
    """

    def __init__(self, url: str) -> None:
        self._complaints = _Complaint()
        logger = logging.getLogger("opentelemetry")  # it complains of every try
        logger.handlers, logger.propagate = [self._complaints], False
        self._resource = resource()
        self._exporter = OTLPSpanExporter(endpoint=traces_url(url), timeout=_PATIENCE_S)

    def send(self, recordings: Sequence[Recording]) -> str | None:
        """Send the spans of requests that have ended; why they were not taken, if they were not."""
        spans = [span for each in recordings for span in readable(each, self._resource)]
        self._complaints.first = None
        if self._exporter.export(spans) is SpanExportResult.SUCCESS:
            return None
        return self._complaints.first or "it does not answer"

    def close(self) -> None:
        """End also what is being tried."""
        self._exporter.shutdown()


def traces_url(collector: str) -> str:
    """Where a collector takes spans.

    >>> traces_url("http://127.0.0.1:4318")
    'http://127.0.0.1:4318/v1/traces'
    """
    return collector if collector.endswith("/v1/traces") else f"{collector.rstrip('/')}/v1/traces"


def resource() -> Resource:
    """What describes this process. What ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` say goes before it."""
    told = Resource.create({})
    ours = {"service.version": version("skyloom"), "service.instance.id": f"{platform.node()}-{os.getpid()}"}
    if str(told.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
        told = told.merge(Resource({"service.name": SERVICE}))
    return Resource(ours).merge(told)


def readable(recording: Recording, described: Resource) -> Iterator[ReadableSpan]:
    """The spans of a request that has ended, the one around the others first."""
    if recording.whole is None:
        return
    trace_id, state = int(recording.trace_id, 16), TraceState.from_header([recording.state])
    whole = SpanContext(trace_id, int(recording.span_id, 16), False, _SAMPLED, state)
    parent = SpanContext(trace_id, int(recording.parent, 16), True, _SAMPLED, state) if recording.parent else None
    yield _span(recording.whole, whole, parent, SpanKind.SERVER, described)
    for each in tuple(recording.spans):
        context = SpanContext(trace_id, int(new_span_id(), 16), False, _SAMPLED, state)
        yield _span(each, context, whole, SpanKind.INTERNAL, described)


def _span(span: Span, context: SpanContext, parent: SpanContext | None, kind: SpanKind, described: Resource) -> ReadableSpan:
    attributes: dict[str, Any] = dict(span.attributes)
    return ReadableSpan(
        span.name,
        context,
        parent,
        described,
        attributes,
        kind=kind,
        status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.begun_ns,
        end_time=span.ended_ns,
        instrumentation_scope=InstrumentationScope("skyloom.serving", version("skyloom")),
    )


class _Complaint(logging.Handler):
    """Keeps the first thing that was said."""

    first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()
