"""CSV files as columns of texts, and texts in the declared types."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.ingest.contract import require_columns
from skyloom.kernel.columns import ARROW_TYPES
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


def csv_texts(path: Path, source: SourceDef) -> Iterator[pa.Table]:
    """The declared columns of a CSV file as texts: a guess of types, made block by block, would differ between them."""
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


def regrouped(tables: Iterable[pa.Table], most: int) -> Iterator[pa.Table]:
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


def typed(texts: pa.Table, source: SourceDef, nulls: Collection[str] = ()) -> tuple[pa.Table, npt.NDArray[np.object_]]:
    """Columns of texts in the declared types (null where a cell could not be read), and why each row could not [n].

    An empty text, and each of ``nulls``, is null in every column that holds no texts.
    """
    faults = np.full(len(texts), "", dtype=object)
    columns: list[Any] = []
    for field in source.schema.fields:
        column = texts.column(field.name)
        if field.type is not Type.STRING:
            column, broken = _parsed(column, field, nulls)
            for row, text in broken.items():
                faults[row] = faults[row] or f"{field.name}: {text!r} is not {_WORDS[field.type]}"
        columns.append(column)
    return pa.table(columns, list(source.schema.names)), faults


def _parsed(texts: pa.ChunkedArray, field: Field, nulls: Collection[str]) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """A column of texts in the field's type, and the texts by row that are none of it."""
    trimmed = pc.utf8_trim_whitespace(texts)
    trimmed = pc.if_else(pc.is_in(trimmed, pa.array(["", *nulls])), pa.scalar(None, pa.string()), trimmed)
    try:
        if field.type is not Type.TIMESTAMP:
            return trimmed.cast(ARROW_TYPES[field.type]), {}
        return _moments(trimmed).cast(ARROW_TYPES[field.type], safe=False), {}
    except pa.ArrowInvalid:
        return _parsed_one_by_one(trimmed, field)


def _moments(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts with a time zone each, or without any (then of UTC); else `ArrowInvalid`."""
    try:
        return texts.cast(pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:
        return texts.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))


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
