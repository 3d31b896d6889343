"""The types of columns on their way into Delta tables and back."""

from typing import TYPE_CHECKING

import pyarrow as pa

from skyloom.kernel.errors import DataError

if TYPE_CHECKING:
    from deltalake import DeltaTable

_MILLISECONDS = pa.timestamp("ms", tz="UTC")


def as_read(table: "DeltaTable") -> pa.Schema:
    """The columns of a table as they are given out: Delta keeps microseconds, we have milliseconds."""
    return _ours(pa.schema(table.schema().to_arrow()))


def _ours(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, _our_type(field.type), field.nullable) for field in schema])


def _our_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return _MILLISECONDS
    if pa.types.is_dictionary(kind):
        return _our_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def as_written(rows: pa.Table) -> pa.Table:
    """Rows with the types that a table will give back. Raises `DataError`, naming the column, where that cannot be."""
    for field in rows.schema:
        _check(field)
        if rows.column_names.count(field.name) > 1:
            raise DataError(f"column {field.name!r} is there twice", fix="name each column once")
    return _cast(rows, _ours(rows.schema), "the table")


def _check(field: pa.Field) -> None:
    kind = field.type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise DataError(f"the times in column {field.name!r} have no time zone", fix='cast them to timestamp("ms", "UTC")')
    numbers = pa.types.is_unsigned_integer(kind) or pa.types.is_float16(kind)
    if numbers or pa.types.is_null(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        raise DataError(f"column {field.name!r} has the type {kind}, which a table cannot keep", fix="cast it to another")


def fitted(rows: pa.Table, schema: pa.Schema, table: str) -> pa.Table:
    """Rows with exactly the columns of ``schema``. Raises `DataError` that names the columns that do not fit."""
    ours, theirs = set(rows.column_names), set(schema.names)
    if ours != theirs or len(rows.column_names) != len(schema.names):
        missing, extra = ", ".join(sorted(theirs - ours)) or "none", ", ".join(sorted(ours - theirs)) or "none"
        raise DataError(f"the rows do not fit {table}: columns missing: {missing}; columns that it has not: {extra}")
    written = as_written(rows.select(schema.names))
    for field in written.schema:
        kind = schema.field(field.name).type
        if field.type != kind:
            raise DataError(f"the rows do not fit {table}: column {field.name!r} is {field.type} here and {kind} there")
    return _cast(written, schema, table)


def _cast(rows: pa.Table, schema: pa.Schema, table: str) -> pa.Table:
    columns: list[pa.ChunkedArray] = []
    for field in schema:
        column = rows.column(field.name)
        if column.null_count and not field.nullable:
            raise DataError(f"the rows do not fit {table}: column {field.name!r} has {column.null_count} nulls")
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowInvalid as error:
            raise DataError(f"the rows do not fit {table}: column {field.name!r}: {error}") from error
    return pa.table(columns, schema=schema)
