"""Tensors as requests of a model: one tensor for each column, of shape [n] or [n, 1], or one [n, k] for all its numbers.

The second form is for models whose requests hold, beside their key and their time, numbers alone: the k columns are these
numbers, in the order of the schema, and NaN is a missing one. The tensor may have any name. Key and time may come as tensors
of their own; else each row has a key that nobody else has (no label can be joined to it), and its time is now.
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.ingest.limits import MAX_REQUEST_ROWS, too_many
from skyloom.ingest.rows import Value
from skyloom.kernel.ids import new_id
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.serving.numbered import Numbered
from skyloom.serving.tensors import FLOATS, INTEGERS, Columns, Matrix, Tensor, Values
from skyloom.serving.wire import Problem

DATATYPE_OF = {Type.STRING: "BYTES", Type.FLOAT: "FP64", Type.INT: "INT64", Type.BOOL: "BOOL", Type.TIMESTAMP: "INT64"}
FEW = 16
"""So many rows are cheaper as lists than as arrays."""

_NUMBERS = (Type.FLOAT, Type.INT, Type.BOOL)
_ACCEPTED = {
    Type.STRING: frozenset({"BYTES"}),
    Type.FLOAT: INTEGERS | FLOATS,
    Type.INT: INTEGERS,
    Type.BOOL: frozenset({"BOOL"}),
    Type.TIMESTAMP: INTEGERS | {"BYTES"},
}


def columns_of(tensors: Sequence[Tensor], schema: Schema, now_ms: int) -> Columns:
    """The columns that tensors hold. Raises `Problem` with 400 for a tensor of a shape or type that does not fit.

    >>> schema = Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP), Field("a", Type.FLOAT)), "id", "at")
    >>> columns_of([Tensor("x", "FP32", (2, 1), np.float32([1, 2]))], schema, 7).tensors["at"].values
    array([7, 7])
    """
    if not tensors:
        raise Problem(400, "inputs: there is none")
    columns: dict[str, Tensor] = {}
    names, matrix, has_matrix = frozenset(schema.names), None, False
    for tensor in tensors:
        numbers = numbers_of(schema) if _may_be_matrix(tensor, names) else ()
        has_matrix = has_matrix or bool(numbers)
        if matrix is None and _stays_whole(tensor, numbers):
            matrix = _matrix(tensor, numbers)
            continue
        for column in _columns_of_matrix(tensor, numbers) if numbers else [_checked(tensor, schema, names)]:
            if column.name in columns:
                raise _twice(column.name)
            columns[column.name] = column
    if matrix is not None and (twice := [name for name in matrix.names if name in columns]):
        raise _twice(twice[0])
    count = _count(columns, matrix)
    if has_matrix:
        columns.setdefault(schema.time, Tensor(schema.time, "INT64", (count,), np.full(count, now_ms, np.int64)))
    fresh = has_matrix and schema.key not in columns
    if fresh:
        columns[schema.key] = _fresh_keys(schema[schema.key], count)
    return Columns(count, columns, matrix, fresh)


def _twice(name: str) -> Problem:
    return Problem(400, f"{name}: given twice")


def _count(columns: dict[str, Tensor], matrix: Matrix | None) -> int:
    """How many rows all have. Raises `Problem` with 400 where they differ, or are too many."""
    counts = {tensor.shape[0] for tensor in columns.values()}
    if matrix is not None:
        counts.add(matrix.values.shape[1])
    if len(counts) > 1:
        raise Problem(400, f"the inputs hold different numbers of rows: {sorted(counts)}")
    count = counts.pop()
    if count > MAX_REQUEST_ROWS:
        raise too_many()
    return count


def few_rows(tensors: Sequence[Tensor], schema: Schema, now_ms: int) -> list[tuple[Value, ...]] | None:
    """The typed rows of one small matrix of finite floats, the usual question, without its columns being made; ``None`` for
    anything else: `columns_of` reads that, or says what is wrong with it.

    >>> schema = Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP), Field("a", Type.FLOAT)), "id", "at")
    >>> few_rows([Tensor("x", "FP32", (1, 1), np.float32([1]))], schema, 7)[0][1:]
    (7, 1.0)
    """
    tensor, fields = tensors[0] if len(tensors) == 1 else None, schema.fields
    if (
        tensor is None
        or len(tensor.shape) != 2
        or tensor.datatype not in FLOATS
        or not isinstance(tensor.values, np.ndarray)
    ):
        return None
    (count, width), numbers = tensor.shape, len(fields) - 2
    if width != numbers or not 0 < count <= FEW:
        return None
    values: list[float] = tensor.values.tolist()
    if not math.isfinite(sum(values)):
        return None
    key_at = time_at = -1
    for place, field in enumerate(fields):
        if field.name == schema.key and field.type is Type.STRING:
            key_at = place
        elif field.name == schema.time:
            time_at = place
        elif field.type is not Type.FLOAT or field.name == tensor.name:
            return None
    if key_at < 0:
        return None
    keys, rows = [new_id("k")] if count == 1 else Numbered("k", count), list[tuple[Value, ...]]()
    for row in range(count):
        whole: list[Value] = [*values[row * width : (row + 1) * width]]
        for place, value in sorted(((key_at, keys[row]), (time_at, now_ms))):
            whole.insert(place, value)
        rows.append(tuple(whole))
    return rows


def numbers_of(schema: Schema) -> tuple[Field, ...]:
    """The columns that one matrix holds: all but key and time, if all of them are numbers; else none."""
    fields = tuple(field for field in schema.fields if field.name not in (schema.key, schema.time))
    return fields if all(field.type in _NUMBERS for field in fields) else ()


def _may_be_matrix(tensor: Tensor, names: frozenset[str]) -> bool:
    return tensor.name not in names and len(tensor.shape) == 2 and tensor.datatype != "BYTES"


def _checked(tensor: Tensor, schema: Schema, names: frozenset[str]) -> Tensor:
    """A tensor of one column."""
    if tensor.name in names and tensor.datatype not in _ACCEPTED[schema[tensor.name].type]:
        raise Problem(400, f"{tensor.name}: {tensor.datatype} does not hold a {schema[tensor.name].type}")
    if not tensor.shape or tensor.shape not in ((tensor.shape[0],), (tensor.shape[0], 1)):
        raise Problem(400, f"{tensor.name}: the shape is {list(tensor.shape)}, not [n] or [n, 1]")
    return tensor


def _stays_whole(tensor: Tensor, fields: tuple[Field, ...]) -> bool:
    """Whether a matrix is one of many rows of floats, for columns that are floats."""
    many = bool(fields) and tensor.shape[0] > FEW and tensor.datatype in FLOATS
    return many and all(field.type is Type.FLOAT for field in fields)


def _matrix(tensor: Tensor, fields: tuple[Field, ...]) -> Matrix:
    turned = _turned(tensor, fields)
    if tensor.datatype == "FP16":
        turned = turned.astype(np.float32)
    return Matrix(tuple([field.name for field in fields]), "FP64" if tensor.datatype == "FP64" else "FP32", turned)


def _turned(matrix: Tensor, fields: tuple[Field, ...]) -> NDArray[Any]:
    """The values of a matrix, a row for each of its columns."""
    count, width = matrix.shape
    if width != len(fields):
        names = ", ".join(field.name for field in fields)
        raise Problem(400, f"{matrix.name}: the shape is {[count, width]}; a row is {len(fields)} numbers: {names}")
    if not isinstance(matrix.values, np.ndarray):
        raise Problem(400, f"{matrix.name}: a number is missing; send floats, with NaN for what is missing")
    return np.ascontiguousarray(matrix.values.reshape(count, width).T)


def _columns_of_matrix(matrix: Tensor, fields: tuple[Field, ...]) -> list[Tensor]:
    turned, count = _turned(matrix, fields), matrix.shape[0]
    if count <= FEW and matrix.datatype in FLOATS and all(field.type is Type.FLOAT for field in fields):
        lists: list[list[Any]] = turned.tolist()
        if math.isnan(sum(map(sum, lists))):
            lists = [[None if math.isnan(value) else value for value in values] for values in lists]
        shape, datatype = (count,), matrix.datatype
        return [Tensor(field.name, datatype, shape, values) for field, values in zip(fields, lists, strict=True)]
    return [_column(matrix, field, column) for field, column in zip(fields, turned, strict=True)]


def _column(matrix: Tensor, field: Field, values: Any) -> Tensor:
    """One column of a matrix; a whole number or a truth among floats is told by its value."""
    datatype, shape = matrix.datatype, (len(values),)
    if field.type is Type.FLOAT:
        return Tensor(field.name, "INT8" if datatype == "BOOL" else datatype, shape, values)
    missing = np.isnan(values) if datatype in FLOATS else np.zeros(len(values), bool)
    with np.errstate(invalid="ignore"):
        whole = np.where(missing, 0, values).astype(np.int64)
    if bool((~missing & (whole != values)).any()):
        raise Problem(400, f"{matrix.name}: {field.name} is a whole number, and some are not")
    if field.type is Type.BOOL and bool(((whole != 0) & (whole != 1)).any()):
        raise Problem(400, f"{matrix.name}: {field.name} is 0 or 1, and some are not")
    typed: Values = whole.astype(bool) if field.type is Type.BOOL else whole
    if bool(missing.any()):
        typed = [None if gone else value for gone, value in zip(missing, typed.tolist(), strict=True)]
    return Tensor(field.name, DATATYPE_OF[field.type], shape, typed)


def _fresh_keys(field: Field, count: int) -> Tensor:
    if field.type is Type.STRING:
        return Tensor(field.name, "BYTES", (count,), Numbered("k", count))
    if field.type is Type.INT:
        first = int.from_bytes(os.urandom(7), "big")
        return Tensor(field.name, "INT64", (count,), first + np.arange(count, dtype=np.int64))
    raise Problem(400, f"{field.name}: a request needs its key")
