"""Requests from a file, in batches of bounded size: every row of it, also those that break the contract, in order."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.ingest.contract import check_values, conform, require_columns
from skyloom.kernel.columns import ARROW_TYPES
from skyloom.kernel.errors import DataError, NotFound, UsageError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Type

pc: Any = _compute
_BLOCK = 4 * 2**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS = {
    Type.FLOAT: "a number",
    Type.INT: "a whole number",
    Type.BOOL: "true or false",
    Type.TIMESTAMP: "a time (milliseconds since 1970, or text such as 2013-04-01T09:30:00Z)",
}


class RequestBatch(NamedTuple):
    """``rows`` in the declared columns and types (null where a cell could not be read), ``faults`` [n]: why each row is
    no request, "" when it is one."""

    rows: pa.Table
    faults: npt.NDArray[np.object_]


def count_requests(path: Path) -> int:
    """About how many rows a file holds: exact for Parquet, by lines for CSV. Raises as `read_requests` does."""
    with _readable(path):
        if _is_parquet(path):
            import pyarrow.parquet as pq

            return pq.read_metadata(path).num_rows
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))


def read_requests(path: Path, source: SourceDef, most: int) -> Iterator[RequestBatch]:
    """The rows of a Parquet or CSV file as requests of ``source``, ``most`` at a time.

    A cell of a CSV file that is not of its column's type is a fault of its row. Raises `NotFound`, `UsageError` for a file
    of another kind, `DataError` for one that cannot be read as a whole, or whose columns are not the declared ones.
    """
    with _readable(path):
        for table in _regrouped(_parquet(path, source, most) if _is_parquet(path) else _csv(path, source), most):
            if _is_parquet(path):
                rows, unread = conform(table, source, str(path)), np.full(len(table), "", dtype=object)
            else:
                rows, unread = _typed(table, source)
            yield RequestBatch(rows, np.where(unread != "", unread, check_values(rows, source.schema)))


def _is_parquet(path: Path) -> bool:
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{path} is neither Parquet nor CSV", fix="name a file that ends in .parquet or .csv")
    return path.suffix == ".parquet"


def _parquet(path: Path, source: SourceDef, most: int) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names: list[str] = file.schema_arrow.names
        require_columns(names, source, str(path))
        for batch in file.iter_batches(most, columns=list(source.schema.names)):
            yield pa.Table.from_batches([batch])


def _csv(path: Path, source: SourceDef) -> Iterator[pa.Table]:
    """The declared columns as texts: a guess of types, made block by block, would differ between the blocks."""
    from pyarrow import csv

    parsing = csv.ParseOptions(newlines_in_values=True)
    reading = csv.ReadOptions(block_size=_BLOCK)
    with csv.open_csv(path, read_options=reading, parse_options=parsing) as reader:
        require_columns(reader.schema.names, source, str(path))
    names = list(source.schema.names)
    texts = csv.ConvertOptions(
        include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    with csv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=texts) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _regrouped(tables: Iterable[pa.Table], most: int) -> Iterator[pa.Table]:
    """The same rows, ``most`` at a time (the last time fewer)."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        while count >= most:
            together = pa.concat_tables(waiting)
            yield together.slice(0, most)
            waiting, count = [together.slice(most)], count - most
    if count:
        yield pa.concat_tables(waiting)


def _typed(texts: pa.Table, source: SourceDef) -> tuple[pa.Table, npt.NDArray[np.object_]]:
    faults = np.full(len(texts), "", dtype=object)
    columns: list[Any] = []
    for field in source.schema.fields:
        column = texts.column(field.name)
        if field.type is not Type.STRING:
            column, broken = _parsed(column, field)
            for row, text in broken.items():
                faults[row] = faults[row] or f"{field.name}: {text!r} is not {_WORDS[field.type]}"
        columns.append(column)
    return pa.table(columns, list(source.schema.names)), faults


def _parsed(texts: pa.ChunkedArray, field: Field) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """A column of texts in the field's type, and the texts by row that are none of it. An empty text is null."""
    trimmed = pc.utf8_trim_whitespace(texts)
    trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    try:
        if field.type is not Type.TIMESTAMP:
            return trimmed.cast(ARROW_TYPES[field.type]), {}
        return trimmed.cast(pa.timestamp("us", tz="UTC")).cast(ARROW_TYPES[field.type], safe=False), {}
    except pa.ArrowInvalid:
        return _parsed_one_by_one(trimmed, field)


def _parsed_one_by_one(texts: pa.ChunkedArray, field: Field) -> tuple[pa.ChunkedArray, dict[int, str]]:
    cells: list[Any] = texts.to_pylist()
    values: list[Any] = [None] * len(cells)
    broken: dict[int, str] = {}
    for row, text in enumerate(cells):
        if text is None:
            continue
        try:
            values[row] = _cell(text, field.type)
        except (ValueError, OverflowError, pa.ArrowInvalid):
            broken[row] = text if len(text) <= 50 else f"{text[:50]}..."
    return pa.chunked_array([pa.array(values, ARROW_TYPES[field.type])]), broken


def _cell(text: str, kind: Type) -> Any:
    if kind is not Type.TIMESTAMP:
        return pa.scalar(text).cast(ARROW_TYPES[kind]).as_py()
    if text.removeprefix("-").isdecimal():
        return pa.scalar(int(text), pa.int64()).as_py()
    moment = datetime.fromisoformat(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"no file {path}", fix="give the path of a Parquet or CSV file") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
