"""Bringing a table of rows in: read, held against the contract, rejects set aside, the rest appended to the log."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from skyloom.ingest.codec import encode_table
from skyloom.ingest.contract import check_table, conform, rejected_table
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import DataError, NotFound
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.lake import Lake
from skyloom.ports.log import Log, NewBatch

CHUNK = 65_536
"""Rows of one batch in the log."""


class Imported(msgspec.Struct, frozen=True):
    """What an import did; ``reasons`` counts the rejects by reason. The rows that it appended take the offsets
    ``start .. end - 1``; ``repeated`` of them had a key that had come before: those are in quarantine too."""

    source: str
    path: str
    rows: int
    accepted: int
    rejected: int
    reasons: dict[str, int]
    start: int
    end: int
    repeated: int = 0


def import_file(
    source: SourceDef,
    path: Path,
    *,
    log: Log,
    lake: Lake,
    now_ms: int,
    on_rows: Callable[[int], None] | None = None,
) -> Imported:
    """Import a Parquet or CSV file, or a folder of them. Nothing is appended unless the whole table can be read.

    Rejects are in the lake table ``quarantine/<source>`` before the others are in the log. Raises `NotFound`, `DataError`.
    """
    table = pa.concat_tables([conform(rows, source, str(file)) for file, rows in _read(path)])
    if len(table) == 0:
        raise DataError(f"{path} holds no rows", fix=f"check what writes {path}")
    checked = check_table(table, source, now_ms)
    if checked.rejects:
        lake.append(f"quarantine/{source.name}", rejected_table(table, checked.rejects, str(path), now_ms))
    start, end = _append(checked.good, source, log, now_ms, on_rows)
    reasons = Counter(reason for _, reason in checked.rejects)
    return Imported(source.name, str(path), len(table), len(checked.good), len(checked.rejects), dict(reasons), start, end)


def _append(
    good: pa.Table, source: SourceDef, log: Log, now_ms: int, on_rows: Callable[[int], None] | None
) -> tuple[int, int]:
    """Append in one transaction; the offsets that the rows begin and end at."""
    topic = events_topic(source.name)
    chunks = [good.slice(start, CHUNK) for start in range(0, len(good), CHUNK)]
    firsts = log.append(topic, [NewBatch(len(chunk), now_ms, True, encode_table(chunk)) for chunk in chunks])
    if on_rows:
        on_rows(len(good))
    start = firsts[0] if firsts else log.end(topic)
    return start, start + len(good)


def _read(path: Path) -> Iterator[tuple[Path, pa.Table]]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _READERS)
        if not files:
            raise NotFound(f"no Parquet or CSV file in {path}")
    elif path.exists():
        files = [path]
    else:
        raise NotFound(f"no file {path}", fix="give the path of a Parquet or CSV file, or of a folder of them")
    for file in files:
        yield file, _read_one(file)


def _read_one(path: Path) -> pa.Table:
    if path.suffix not in _READERS:
        raise DataError(
            f"{path} is neither Parquet nor CSV", tried=f"the ending {path.suffix!r}", fix="convert it to Parquet"
        )
    try:
        return _READERS[path.suffix](path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _parquet(path: Path) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path)


def _csv(path: Path) -> Any:
    import pyarrow.csv

    return pyarrow.csv.read_csv(path)


_READERS: dict[str, Callable[[Path], Any]] = {".parquet": _parquet, ".csv": _csv}
