"""Real stores in a folder, for what brings rows in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skyloom.ingest.codec import decode
from skyloom.kernel.clock import ManualClock
from skyloom.kernel.records.definitions import SourceDef
from skyloom.stores.log.lmdb import LmdbLog
from skyloom.stores.metadata.sqlite import SqliteMetadata

NOW = 1_364_800_000_000


@dataclass
class Stores:
    log: Any
    metadata: SqliteMetadata

    def events(self, source: SourceDef) -> list[dict[str, Any]]:
        table = decode(self.log.read(f"events/{source.name}", 0, 1 << 40), source.schema)
        return table.select(list(source.schema.names)).to_pylist()

    def quarantined(self, source: SourceDef) -> list[tuple[str, str, str, int]]:
        batches = self.log.read(f"quarantine/{source.name}", 0, 1 << 40)
        return [tuple(row) for batch in batches for row in msgspec.msgpack.decode(batch.payload)]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(LmdbLog(tmp_path / "log"), SqliteMetadata(tmp_path / "metadata.db", ManualClock(NOW)))
    yield made
    made.log.close()
    made.metadata.close()


class Faulty:
    """A log that dies at its ``nth`` write, before it (or after it, when ``after``)."""

    def __init__(self, log: Any, nth: int, *, after: bool) -> None:
        self._log, self._left, self._after = log, nth, after

    def append(self, *words: Any) -> list[int]:
        return self._write(self._log.append, *words)

    def commit(self, *words: Any) -> int:
        return self._write(self._log.commit, *words)

    def _write(self, change: Any, *words: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Died
        done = change(*words)
        if self._left == 0:
            raise Died
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Died(Exception):
    """The process is no more."""


@pytest.fixture
def faulty() -> type[Faulty]:
    return Faulty


@pytest.fixture
def died() -> type[Died]:
    return Died
