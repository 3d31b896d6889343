"""Logs of a server process, on stderr: warnings and errors, and lines about requests where they are wanted."""

import logging
import time
from typing import Any

import msgspec

from skyloom.serving.traces.underway import UNDER_WAY

FORMATS = ("json", "text")


class JsonLines(logging.Formatter):
    """One object a line: ``{"time": "2026-11-20T19:51:17.123Z", "level": "ERROR", "logger": ..., "process": 4242, "message":
    ..., "request_id": ..., "trace_id": ...}``, the last two where a request is under way and known by them, and
    ``exception`` as text where there is one. Times are those of RFC 3339, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        return msgspec.json.encode(_line(self, record)).decode()


class TextLines(logging.Formatter):
    """The same for people: ``2026-11-20T19:51:17.123Z ERROR skyloom.serving: ... request_id=...``."""

    def format(self, record: logging.LogRecord) -> str:
        line = _line(self, record)
        told = f"{line['time']} {line['level']} {line['logger']}[{line['process']}]: {line['message']}"
        told += "".join([f" {name}={line[name]}" for name in ("request_id", "trace_id") if name in line])
        return f"{told}\n{line['exception']}" if "exception" in line else told


def log_to_stderr(written: str = "json") -> None:
    """Send warnings and errors of Skyloom to stderr, as ``json`` or ``text``."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if written == "json" else TextLines())
    logger = logging.getLogger("skyloom")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logging.getLogger("skyloom.requests").setLevel(logging.INFO)


def _line(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
        "level": record.levelname,
        "logger": record.name,
        "process": record.process,
        "message": record.getMessage(),
        **getattr(record, "fields", {}),
    }
    now = UNDER_WAY.get()
    if now is not None:
        line["request_id"] = now.request_id
        if now.trace_id:
            line["trace_id"] = now.trace_id
    if record.exc_info:
        line["exception"] = formatter.formatException(record.exc_info)
    return line
