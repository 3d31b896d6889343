"""An import that runs in a process of its own, to be killed there."""

from pathlib import Path
from threading import Event
from typing import Any

from skyloom.ingest import imports
from skyloom.ingest.imports import import_file
from skyloom.kernel.clock import ManualClock
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.stores.log.lmdb import LmdbLog
from skyloom.stores.metadata.sqlite import SqliteMetadata
from skyloom.testing.faults import Report

P = 3
PIECE = 5
NOW = 1_364_800_000_000
SCHEMA = Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP), Field("n", Type.INT)), "id", "at")
SOURCE = SourceDef("visits", SCHEMA)


class Stopping:
    """A log that reports the topic of each append when it is done, and stands still after the last one."""

    def __init__(self, log: Any, last: int, report: Report) -> None:
        self._log, self._left, self._report = log, last, report

    def append(self, *words: Any) -> list[int]:
        done = self._log.append(*words)
        self._report(words[0])
        self._left -= 1
        if not self._left:
            Event().wait()
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def import_visits(folder: Path, last: int, report: Report) -> None:
    """Bring the file of visits in by small pieces into a log of three partitions, and stand still after so many appends."""
    imports.PIECE = PIECE
    log: Any = Stopping(LmdbLog(folder / "log", P), last, report)
    metadata = SqliteMetadata(folder / "metadata.db", ManualClock(NOW))
    import_file(SOURCE, folder / "a.ndjson", log=log, metadata=metadata, actor="me", now_ms=NOW)
