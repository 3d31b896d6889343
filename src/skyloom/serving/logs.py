"""Logs of a server process: one JSON object a line on stderr, warnings and errors only."""

import logging

import msgspec


class JsonLines(logging.Formatter):
    """``{"at": "2026-11-20T19:51:17.123Z", "level": "ERROR", "message": ...}``."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def log_to_stderr() -> None:
    """Send warnings and errors of Skyloom to stderr."""
    from time import gmtime

    handler = logging.StreamHandler()
    formatter = JsonLines()
    formatter.converter = gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("skyloom")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
