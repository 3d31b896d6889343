"""The contract of a source: which rows may come in, and what becomes of the others."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.ingest.rows import AHEAD, MAX_TEXT, NOT_FINITE, TOO_LONG, too_large
from skyloom.kernel.columns import ARROW_TYPES, arrow_schema
from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type

pc: Any = _compute
Mask = npt.NDArray[np.bool_]

REJECTED = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
"""The columns of a quarantine table: why, the row itself as JSON, where it came from, when."""


class Checked(NamedTuple):
    """Rows that keep the contract, and the others as (row number, reason)."""

    good: pa.Table
    rejects: list[tuple[int, str]]


def conform(table: pa.Table, source: SourceDef, origin: str) -> pa.Table:
    """The declared columns of a file's table, in the declared types; other columns are left behind.

    Types that hold the same values are converted (int to float, other time units, categories to strings). Raises
    `DataError` for a missing column (with the nearest names) or a type that would lose or invent something.
    """
    require_columns(table.column_names, source, origin)
    columns = [_convert(table.column(field.name), field, source, origin) for field in source.schema.fields]
    nullable = pa.schema([pa.field(field.name, field.type) for field in arrow_schema(source.schema)])
    return pa.table(columns, nullable)


def require_columns(names: Sequence[str], source: SourceDef, origin: str) -> None:
    """Every declared column is among ``names``, once. Raises `DataError` (with the nearest names) otherwise."""
    missing = [field.name for field in source.schema.fields if field.name not in names]
    if missing:
        raise _missing_columns(missing, names, source, origin)
    twice = [field.name for field in source.schema.fields if names.count(field.name) > 1]
    if twice:
        raise DataError(f"{origin} has {', '.join(twice)} more than once", fix="rename the columns in the file")


def check_table(table: pa.Table, source: SourceDef, now_ms: int, *, unique: bool = True) -> Checked:
    """Judge every row of a conforming table. A row gets the first reason that fits, in the order in which rows of JSON get
    theirs; the first of equal keys stays, unless keys need not be ``unique`` here."""
    schema = source.schema
    found = [*_nulls(table, schema), *_broken_values(table, schema), *_broken_events(table, source, now_ms)]
    reasons = _first_reasons(len(table), [*found, *_empty_keys(table, schema)])
    if unique:
        free = np.flatnonzero(reasons == "")
        again = free[_repeated(table.column(schema.key).take(pa.array(free)))]
        reasons[again] = f"{schema.key}: duplicate key"
    bad = np.flatnonzero(reasons != "")
    good = table.filter(pa.array(reasons == "")).cast(arrow_schema(source.schema))
    return Checked(good, [(int(row), str(reasons[row])) for row in bad])


def check_values(table: pa.Table, schema: Schema) -> npt.NDArray[np.object_]:
    """Why each row of a conforming table is no request (null, no number, an endless text, an empty key); "" if it is one."""
    found = [*_nulls(table, schema), *_broken_values(table, schema), *_empty_keys(table, schema)]
    return _first_reasons(len(table), found)


def shown_rows(table: pa.Table, numbers: Sequence[int]) -> list[dict[str, object]]:
    """Some rows of a table as objects that JSON tells, with moments as text."""
    rows = table.take(pa.array(numbers, pa.int64()))
    columns = [[_readable(value) for value in column] for column in rows.columns]
    return [dict(zip(rows.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def row_text(row: object) -> str:
    """A row as it is kept in quarantine: JSON."""
    return msgspec.json.encode(row, enc_hook=str).decode()


def _readable(value: pa.Scalar) -> object:
    """A cell as it is told in JSON: a moment as text, or as milliseconds when it is beyond the years 1 to 9999."""
    if not value.is_valid or not pa.types.is_timestamp(value.type):
        return value.as_py()
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value.value)).isoformat()
    except OverflowError:
        return value.value


def quarantined(rejects: list[tuple[str, object]], origin: str, now_ms: int) -> pa.Table:
    """Quarantine rows of (reason, row) pairs."""
    columns = [
        [reason for reason, _ in rejects],
        [row_text(row) for _, row in rejects],
        [origin] * len(rejects),
        [now_ms] * len(rejects),
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, REJECTED, strict=True)], REJECTED)


def _missing_columns(missing: list[str], names: Sequence[str], source: SourceDef, origin: str) -> DataError:
    missing = sorted(missing, key=lambda name: name != source.schema.time)
    hints = [f"{name} (perhaps {' or '.join(near)})" if (near := nearest(name, list(names))) else name for name in missing]
    time = "the time column " if source.schema.time in missing else ""
    return DataError(
        f"{origin} lacks {time}{', '.join(hints)}",
        tried=f"its columns: {', '.join(names)}",
        fix=f"rename the column in the file, or declare {source.name} with the names that the file has",
    )


def _convert(column: pa.ChunkedArray, field: Field, source: SourceDef, origin: str) -> pa.ChunkedArray:
    wanted, found = ARROW_TYPES[field.type], column.type
    if pa.types.is_dictionary(found):
        found = found.value_type
    what = f"{origin}: {field.name} is {found}, but {source.name} declares {field.type}"
    tried = f"a conversion from {column.type} to {wanted} without loss"
    fix = f"write the file with {field.name} as {wanted}, or declare another type"
    if not _FITS[field.type](found) and not pa.types.is_null(found):
        raise DataError(what, tried=tried, fix=fix)
    finer = pa.types.is_timestamp(found) and found.unit in ("us", "ns")  # a moment keeps its milliseconds
    try:
        return (column if found == column.type else column.cast(found)).cast(wanted, safe=not finer)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{what}: {error}", tried=tried, fix=fix) from error


_FITS: dict[Type, Callable[[pa.DataType], bool]] = {
    Type.STRING: lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t),
    Type.FLOAT: lambda t: pa.types.is_floating(t) or pa.types.is_integer(t),
    Type.INT: lambda t: pa.types.is_integer(t) and not pa.types.is_uint64(t),
    Type.BOOL: pa.types.is_boolean,
    Type.TIMESTAMP: pa.types.is_timestamp,
}


def _first_reasons(rows: int, found: list[tuple[str, str, Mask]]) -> npt.NDArray[np.object_]:
    reasons = np.full(rows, "", dtype=object)
    for name, reason, broken in found:
        reasons[(reasons == "") & broken] = f"{name}: {reason}"
    return reasons


def _nulls(table: pa.Table, schema: Schema) -> list[tuple[str, str, Mask]]:
    return [(field.name, "null", _mask(table.column(field.name).is_null())) for field in schema.fields if not field.nullable]


def _empty_keys(table: pa.Table, schema: Schema) -> list[tuple[str, str, Mask]]:
    if schema[schema.key].type is not Type.STRING:
        return []
    return [(schema.key, "empty", _mask(pc.equal(table.column(schema.key), "")))]


def _broken_values(table: pa.Table, schema: Schema) -> list[tuple[str, str, Mask]]:
    found: list[tuple[str, str, Mask]] = []
    for field in schema.fields:
        column = table.column(field.name)
        if field.type is Type.FLOAT:
            found.append((field.name, NOT_FINITE, _mask(pc.invert(pc.is_finite(column)))))
        if field.type is Type.STRING:
            found.append((field.name, TOO_LONG, _mask(pc.greater(pc.utf8_length(column), MAX_TEXT))))
    return found


def _broken_events(table: pa.Table, source: SourceDef, now_ms: int) -> list[tuple[str, str, Mask]]:
    found: list[tuple[str, str, Mask]] = []
    schema = source.schema
    numbers = {field.name for field in schema.fields if field.type in (Type.FLOAT, Type.INT)}
    for name, limit in source.limits.items():
        if name not in numbers:
            continue  # counted, never summed
        magnitude = pc.abs(table.column(name).cast(pa.float64(), safe=False))
        found.append((name, too_large(limit), _mask(pc.greater(magnitude, limit))))
    time = table.column(schema.time).cast(pa.int64())
    found.append((schema.time, "before 1970", _mask(pc.less(time, 0))))
    found.append((schema.time, "in the future", _mask(pc.greater(time, now_ms + AHEAD))))
    return found


def _mask(column: pa.ChunkedArray) -> Mask:
    return pc.fill_null(column, False).combine_chunks().to_numpy(zero_copy_only=False)


def _repeated(keys: pa.ChunkedArray) -> npt.NDArray[np.intp]:
    """Where a key stands that stood before."""
    codes = keys.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    again = np.ones(len(codes), np.bool_)
    again[first] = False
    return np.flatnonzero(again)
