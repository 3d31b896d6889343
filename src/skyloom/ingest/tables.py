"""Files of events: Parquet, CSV, lines of JSON and Arrow, read piece by piece."""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from skyloom.ingest.contract import conform, require_columns, row_text
from skyloom.ingest.gateway import as_json
from skyloom.ingest.rows import Value, row_type
from skyloom.ingest.texts import csv_texts, regrouped, typed
from skyloom.kernel.columns import arrow_schema
from skyloom.kernel.errors import DataError, NotFound
from skyloom.kernel.records.definitions import SourceDef

FORMATS = "Parquet, CSV, NDJSON (also gzipped) or Arrow"
_NULLS = ("NA", "N/A", "n/a", "#N/A", "null", "NULL", "nan", "NaN", "None")


class Piece(NamedTuple):
    """Rows of a file in the declared columns and types, the number of each in this piece, and those that could not be read
    so: their number, why, and the row as JSON."""

    rows: pa.Table
    numbers: Sequence[int]
    unread: list[tuple[int, str, str]]

    @property
    def size(self) -> int:
        """How many rows of the file it is made of."""
        return len(self.rows) + len(self.unread)


def files_of(path: Path) -> list[Path]:
    """The file itself, or those of a folder that can be read, by name. Raises `NotFound`, `DataError` for another kind."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if ending(file) in _READERS)
        if not files:
            raise NotFound(f"no {FORMATS} file in {path}", fix="give a folder that holds some")
        return files
    if not path.exists():
        raise NotFound(f"no file {path}", fix=f"give the path of a {FORMATS} file, or of a folder of them")
    if ending(path) not in _READERS:
        raise DataError(f"{path} is neither {FORMATS}", tried=f"the ending {path.suffix!r}", fix="convert it to Parquet")
    return [path]


def read_pieces(path: Path, source: SourceDef, most: int) -> Iterator[Piece]:
    """The rows of a file, ``most`` at a time. Raises `DataError` for one that cannot be read as a whole."""
    try:
        yield from _READERS[ending(path)](path, source, most)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", fix=f"check what writes {path}") from error


def count_rows(path: Path) -> int:
    """About how many rows files hold, to show progress: exact for Parquet, by lines for plain texts, else 0."""
    return sum(_COUNTERS[ending(file)](file) for file in files_of(path) if ending(file) in _COUNTERS)


def ending(path: Path) -> str:
    """The ending that tells how a file is read: ``.csv.gz`` for what is packed."""
    return path.suffixes[-2] + ".gz" if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix


def _parquet(path: Path, source: SourceDef, most: int) -> Iterator[Piece]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        require_columns(file.schema_arrow.names, source, str(path))
        batches = file.iter_batches(min(most, 65_536), columns=list(source.schema.names))
        for table in regrouped((pa.Table.from_batches([batch]) for batch in batches), most):
            table.validate(full=True)
            yield Piece(conform(table, source, str(path)), range(len(table)), [])


def _arrow(path: Path, source: SourceDef, most: int) -> Iterator[Piece]:
    """A file (also Feather's second version) or a stream: its first bytes tell."""
    with pa.memory_map(str(path)) as mapped:
        whole = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        with pa.ipc.open_file(mapped) if whole else pa.ipc.open_stream(mapped) as reader:
            require_columns(reader.schema.names, source, str(path))
            batches = (reader.get_batch(n) for n in range(reader.num_record_batches)) if whole else iter(reader)
            tables = (pa.Table.from_batches([batch]).select(list(source.schema.names)) for batch in batches)
            for table in regrouped(tables, most):
                table.validate(full=True)
                yield Piece(conform(table, source, str(path)), range(len(table)), [])


def _csv(path: Path, source: SourceDef, most: int) -> Iterator[Piece]:
    for texts in regrouped(csv_texts(path, source), most):
        rows, faults = typed(texts, source, _NULLS)
        unread = [int(row) for row in (faults != "").nonzero()[0]]
        shown: list[dict[str, Any]] = texts.take(pa.array(unread, pa.int64())).to_pylist()
        kept = rows.filter(pa.array(faults == "")) if unread else rows
        told = [(row, str(faults[row]), row_text(texts)) for row, texts in zip(unread, shown, strict=True)]
        yield Piece(conform(kept, source, str(path)), (faults == "").nonzero()[0].tolist(), told)


def _lines(path: Path, source: SourceDef, most: int) -> Iterator[Piece]:
    """A line is one object; columns that are not declared are left behind, as those of every file are."""
    read = row_type(source.schema).from_wider_json
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        good: list[tuple[Value, ...]] = []
        numbers: list[int] = []
        unread: list[tuple[int, str, str]] = []
        for raw in file:
            line = raw.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            at = len(good) + len(unread)
            try:
                good.append(read(line))
                numbers.append(at)
            except DataError as error:
                unread.append((at, error.what, as_json(line.strip())))
            if at + 1 == most:
                yield Piece(_table(good, source), numbers, unread)
                good, numbers, unread = [], [], []
        if good or unread:
            yield Piece(_table(good, source), numbers, unread)


def _table(rows: list[tuple[Value, ...]], source: SourceDef) -> pa.Table:
    target = pa.schema([field.with_nullable(True) for field in arrow_schema(source.schema)])
    if not rows:
        return target.empty_table()
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, target, strict=True)], target)


def _count_parquet(path: Path) -> int:
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        return 0  # reading it will say why


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 22), b""))


def _count_records(path: Path) -> int:
    return max(0, _count_lines(path) - 1)  # the first line has the names


_COUNTERS: dict[str, Callable[[Path], int]] = {
    ".parquet": _count_parquet,
    ".csv": _count_records,
    ".ndjson": _count_lines,
    ".jsonl": _count_lines,
}
_READERS: dict[str, Callable[[Path, SourceDef, int], Iterator[Piece]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".ndjson": _lines,
    ".jsonl": _lines,
    ".ndjson.gz": _lines,
    ".jsonl.gz": _lines,
    ".arrow": _arrow,
    ".arrows": _arrow,
    ".feather": _arrow,
}
