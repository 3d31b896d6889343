"""What serving counts. Names follow Prometheus: base units, ``_total`` for counters."""

import copy
import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from skyloom.serving.meters import Counts, Spreads

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """The meters of one serving process, in a registry of their own. ``among_others``: behind one socket."""

    def __init__(self, *, among_others: bool = False) -> None:
        registry = self.registry = CollectorRegistry()
        self._exposed = _OfOneProcess(registry) if among_others else registry
        self.requests = Counts("skyloom_requests", "Requests by route and status", ["route", "status"], registry)
        self.seconds = Spreads(
            "skyloom_request_seconds",
            "Time from the request's head to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        arm = ["model", "version", "arm"]
        self.predictions = Counts("skyloom_predictions", "Rows scored", arm, registry)
        self.model_errors = Counter("skyloom_model_errors", "Rows that a model broke on", arm, registry=registry)
        self.scoring_seconds = Spreads(
            "skyloom_scoring_seconds",
            "Time to look up features and score, by request",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.shadow_dropped = Counter("skyloom_shadow_dropped", "Shadow copies not scored: queue full", registry=registry)
        self.logbook_queue = Gauge("skyloom_logbook_queue", "Receipts waiting to be logged", registry=registry)
        self.logbook_written = Counter("skyloom_logbook_written", "Receipts logged", registry=registry)
        self.logbook_bytes = Gauge("skyloom_logbook_bytes", "Bytes in segments that wait to be logged", registry=registry)
        self.logbook_oldest = Gauge("skyloom_logbook_oldest_seconds", "Age of the oldest receipt waiting", registry=registry)
        self.logbook_dropped = Counter(
            "skyloom_logbook_dropped", "Receipts not logged, by reason", ["reason"], registry=registry
        )
        for reason in ("limit", "disk", "refused"):
            self.logbook_dropped.labels(reason)
        self.logbook_damaged = Counter(
            "skyloom_logbook_damaged", "Pieces of segments that were set aside", ["kind"], registry=registry
        )
        for kind in ("torn", "damaged"):
            self.logbook_damaged.labels(kind)
        self.logbook_failures = Counter(
            "skyloom_logbook_failures", "Appends that failed and are tried again", registry=registry
        )
        self.batch_rows = Histogram(
            "skyloom_batch_rows",
            "Rows that were gathered into one batch",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "skyloom_queue_seconds",
            "Time that requests waited to be in a batch",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter("skyloom_refused", "Requests refused early, by why", ["model", "why"], registry=registry)
        lane = ["model", "where"]
        self.concurrency_limit = Gauge(
            "skyloom_concurrency_limit", "How many requests of a model may be under way", lane, registry=registry
        )
        self.under_way = Gauge("skyloom_under_way", "Requests of a model that wait or are scored", lane, registry=registry)
        self.release_number = Gauge("skyloom_release_number", "The release that is obeyed", registry=registry)
        self.release_refused = Counter(
            "skyloom_release_refused", "Releases refused: the one before serves on", registry=registry
        )
        self.release_refusing = Gauge(
            "skyloom_release_refusing", "Whether the release pointed at is refused now", registry=registry
        )
        self.release_store_up = Gauge(
            "skyloom_release_store_up", "Whether the object store answered the last look", registry=registry
        )
        self.release_from_copy = Gauge(
            "skyloom_release_from_copy",
            "Whether this process started from the local copy and has not reached the store since",
            registry=registry,
        )
        self.release_copied = Gauge(
            "skyloom_release_copied", "Whether the release obeyed is in the local copy", registry=registry
        )
        self.spans_exported = Counter("skyloom_spans_exported", "Spans that the collector has taken", registry=registry)
        self.spans_dropped = Counter("skyloom_spans_dropped", "Spans dropped, by why", ["reason"], registry=registry)
        for reason in ("queue", "collector"):
            self.spans_dropped.labels(reason)
        self.events = Counter("skyloom_events", "Events by what became of them", ["source", "result"], registry=registry)

    def exposed(self, accept: str = "") -> tuple[bytes, str]:
        """All meters and their media type: OpenMetrics (which has exemplars) for who accepts it, else Prometheus' text."""
        if any(_is_openmetrics(each) for each in accept.split(",")):
            return generate_openmetrics(self._exposed), OPEN_METRICS
        return generate_latest(self._exposed), TEXT


class _OfOneProcess(CollectorRegistry):
    """What a registry collects, with the number of this process as a label: of several behind one socket a scraper meets
    now one and now another, and a counter must not be taken for that of its sister."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry, self._process = registry, str(os.getpid())

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            made = copy.copy(family)
            made.samples = [each._replace(labels={**each.labels, "process": self._process}) for each in family.samples]
            yield made


def _is_openmetrics(accepted: str) -> bool:
    kind, *parameters = [word.strip().lower() for word in accepted.split(";")]
    return kind == "application/openmetrics-text" and not any(word in ("q=0", "q=0.0") for word in parameters)
