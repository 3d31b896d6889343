"""Arrow tables as rows of a model's schema, judged as rows of JSON are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.ingest.contract import check_values, conform
from skyloom.ingest.rows import Value, null_reason
from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.serving.body import LAST_MOMENT_MS
from skyloom.serving.wire import Problem

pc: Any = _compute


def check_names(names: Sequence[str], schema: Schema) -> None:
    """Every column that needs a value is there, once, and no other; else `Problem` with 400 that names the first."""
    known = list(schema.names)
    for name in names:
        if name not in known:
            near = nearest(name, known)
            raise Problem(400, f"{name}: unknown column" + (f" (did you mean {near[0]}?)" if near else ""))
        if names.count(name) > 1:
            raise Problem(400, f"{name}: given twice")
    for field in schema.fields:
        if field.name not in names and not field.nullable:
            raise Problem(400, f"{field.name}: missing")


def rows_of_table(
    table: pa.Table, source: SourceDef, faults: npt.NDArray[np.object_] | None = None
) -> list[tuple[Value, ...]]:
    """The rows of a table whose columns have passed `check_names`; ``faults`` are why rows could not be read, if any.

    Raises `Problem` with 400 for a column of a type that would lose something, and for the first row that breaks the schema.
    """
    schema = source.schema
    try:
        whole = conform(_completed(table, schema), source, "the body")
    except DataError as error:
        raise Problem(400, error.what) from error
    reasons = check_values(whole, schema)
    reasons[reasons == f"{schema.key}: empty"] = ""  # a request of nobody is answered
    for field in schema.fields:
        reasons[reasons == f"{field.name}: null"] = null_reason(field)
        if field.type is Type.TIMESTAMP:
            reasons = _out_of_calendar(whole.column(field.name), field, reasons)
    if faults is not None:
        reasons = np.where(faults == "", reasons, faults)
    bad = np.flatnonzero(reasons != "")
    if bad.size:
        raise Problem(400, f"row {bad[0]}: {reasons[bad[0]]}")
    columns = [_values(whole.column(field.name), field) for field in schema.fields]
    return list(zip(*columns, strict=True))


def _completed(table: pa.Table, schema: Schema) -> pa.Table:
    """The table with the columns that it may lack, and with numbers as the moments and whole numbers that they are."""
    columns: dict[str, Any] = {}
    for field in schema.fields:
        column = table.column(field.name) if field.name in table.column_names else pa.nulls(len(table))
        columns[field.name] = _fitted(column, field)
    return pa.table(columns)


def _fitted(column: Any, field: Field) -> Any:
    if field.type is Type.TIMESTAMP and pa.types.is_signed_integer(column.type):
        return column.cast(pa.int64()).cast(pa.timestamp("ms", "UTC"))
    if field.type is Type.INT and pa.types.is_floating(column.type):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise Problem(400, f"{field.name}: expected a whole number ({error})") from error
    return column


def _out_of_calendar(column: pa.ChunkedArray, field: Field, reasons: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    moments = column.cast(pa.int64()).fill_null(0).to_numpy()
    odd = (moments < 0) | (moments > LAST_MOMENT_MS)
    for row in np.flatnonzero(odd & (reasons == "")):
        reasons[row] = f"{field.name}: {moments[row]} ms is no time between the years 1970 and 9999"
    return reasons


def _values(column: pa.ChunkedArray, field: Field) -> list[Value]:
    plain: Any = column.cast(pa.int64()) if field.type is Type.TIMESTAMP else column
    return plain.to_pylist()
