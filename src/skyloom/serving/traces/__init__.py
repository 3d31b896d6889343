"""Requests watched: ids, spans of what was done for them, and the way of spans to a collector."""

from skyloom.serving.traces.exporter import Exporter
from skyloom.serving.traces.logbook import TracedLogbook
from skyloom.serving.traces.request_ids import HEADER
from skyloom.serving.traces.underway import UNDER_WAY, Recording, Underway, carried, recording
from skyloom.serving.traces.watch import UNKNOWN, Answered, Watch, over_grpc, over_http

__all__ = [
    "HEADER",
    "UNDER_WAY",
    "UNKNOWN",
    "Answered",
    "Exporter",
    "Recording",
    "TracedLogbook",
    "Underway",
    "Watch",
    "carried",
    "over_grpc",
    "over_http",
    "recording",
]
