"""JSON documents: one row, many, or columns, in every envelope that the contracts know."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from skyloom.ingest.rows import RowType, Value
from skyloom.kernel.errors import DataError
from skyloom.kernel.schema import Schema
from skyloom.serving.body import decode, in_calendar
from skyloom.serving.formats.asked import Asked, check_count
from skyloom.serving.wire import Problem

ENVELOPES = ("instances", "inputs", "dataframe_split", "dataframe_records", "input_data", "columns", "data", "features")
"""Keys of a document that hold its rows, where the schema has no column of that name."""

_OPTIONS = ("parameters", "params")

Items = Sequence[object]


def read_document(rows: RowType, body: bytes) -> Asked:
    """The rows of a JSON document.

    >>> from skyloom.kernel.schema import Field, Type
    >>> rows = RowType(Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP)), "id", "at"))
    >>> read_document(rows, b'{"dataframe_split": {"columns": ["at", "id"], "data": [[5, "a"]]}}')
    Asked(rows=[('a', 5)], form='dataframe_split', outputs=None)

    Raises `Problem`: 400 for what is no such document (naming the row and the field), 413 for too many rows.
    """
    return asked_of(rows, decode(body))


def asked_of(rows: RowType, value: object) -> Asked:
    """`read_document` of a document that is decoded."""
    if isinstance(value, list):
        return Asked(read_items(rows, cast("Items", value)), "rows")
    if not isinstance(value, dict):
        raise Problem(400, "the body is neither a row (an object) nor a list of rows")
    document = cast("dict[str, object]", value)
    form = envelope_of(document, rows.schema)
    if form is None:
        return Asked([read_item(rows, document, "")], "row", None)
    return Asked(read_items(rows, items_of(document, form, rows.schema), form), form, _outputs(document))


def items_of(document: Mapping[str, object], form: str, schema: Schema) -> Items:
    """What an envelope of a document holds: for each row an object or a list, not yet judged."""
    return _ITEMS[form](document, schema)


def envelope_of(document: Mapping[str, object], schema: Schema) -> str | None:
    """The key that holds the rows, or ``None`` for a document that is a row. Raises `Problem` with 400 for two of them."""
    found = [key for key in ENVELOPES if key in document and key not in schema]
    if found == ["columns", "data"]:
        return "columns"
    if len(found) > 1:
        raise Problem(400, f"give one of {' and '.join(found)}, not both")
    return found[0] if found else None


def read_items(rows: RowType, items: Items, form: str = "") -> list[tuple[Value, ...]]:
    """The values of rows, each an object or a list in the schema's order. Raises `Problem` with 400 that names the row."""
    check_count(len(items))
    where = form if form in ("instances", "dataframe_records") else "row "
    return [
        read_item(rows, item, f"{where}{f'[{index}]' if where != 'row ' else index}: ") for index, item in enumerate(items)
    ]


def read_item(rows: RowType, item: object, where: str) -> tuple[Value, ...]:
    """The values of one row. Raises `Problem` with 400 that names the field, after ``where``."""
    if isinstance(item, dict) and len(cast("dict[str, object]", item)) == 1 and "features" not in rows.schema:
        item = cast("dict[str, object]", item).get("features", item)
    if isinstance(item, list):
        values = cast("list[object]", item)
        if len(values) != len(rows.schema.fields):
            raise Problem(400, f"{where}{len(values)} values for the columns {', '.join(rows.schema.names)}")
        item = dict(zip(rows.schema.names, values, strict=True))
    try:
        return in_calendar(rows, rows.from_object(item))
    except DataError as error:
        raise Problem(400, where + error.what) from error


def rows_of_columns(columns: Mapping[str, object], where: str) -> list[dict[str, object]]:
    """The rows that columns hold: lists of the same length; a value alone is a column of one.

    >>> rows_of_columns({"a": [1, 2], "b": [[3], [4]]}, "inputs")
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 4}]
    """
    lists = {name: cast("list[object]", each) if isinstance(each, list) else [each] for name, each in columns.items()}
    counts = {len(each) for each in lists.values()}
    if len(counts) > 1:
        raise Problem(400, f"{where}: the columns hold different numbers of rows: {sorted(counts)}")
    flat = [[_alone(value) for value in each] for each in lists.values()]
    return [dict(zip(lists, row, strict=True)) for row in zip(*flat, strict=True)]


def loosened(value: object) -> object:
    """A value as TensorFlow's clients write it, plain: ``[x]`` is x, and ``{"b64": ...}`` the text that it encodes.

    >>> loosened([{"b64": "VUE="}])
    'UA'
    """
    value = _alone(value)
    if isinstance(value, dict) and list(cast("dict[str, object]", value)) == ["b64"]:
        encoded: Any = value["b64"]
        try:
            return base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, TypeError, ValueError) as error:
            raise Problem(400, f"b64: {encoded!r:.50} is no text in base64") from error
    return value


def outputs_of(options: object, where: str) -> tuple[str, ...] | None:
    """The names under ``outputs`` of a contract's options; `Problem` with 400 for what is no list of names."""
    if not isinstance(options, dict):
        return None
    names: object = cast("dict[str, object]", options).get("outputs")
    if names is None:
        return None
    if isinstance(names, list) and all(isinstance(name, str) for name in cast("list[object]", names)):
        return tuple(cast("list[str]", names))
    raise Problem(400, f"{where}.outputs: expected a list of names")


def _alone(value: object) -> object:
    while isinstance(value, list) and len(cast("list[object]", value)) == 1:
        value = cast("list[object]", value)[0]
    return value


def _outputs(document: Mapping[str, object]) -> tuple[str, ...] | None:
    found = [outputs_of(document.get(key), key) for key in _OPTIONS]
    return next((each for each in found if each is not None), None)


def _list_of(form: str) -> Callable[[Mapping[str, object], Schema], Items]:
    def items(document: Mapping[str, object], schema: Schema) -> Items:
        value = document[form]
        if not isinstance(value, list):
            raise Problem(400, f"{form}: expected a list of rows")
        return cast("Items", value)

    return items


def _inputs(document: Mapping[str, object], schema: Schema) -> Items:
    return _rows_or_columns(document["inputs"], "inputs")


def _input_data(document: Mapping[str, object], schema: Schema) -> Items:
    value = document["input_data"]
    if isinstance(value, dict) and "data" in value:
        return _split(cast("dict[str, object]", value), schema, "input_data")
    return _rows_or_columns(value, "input_data")


def _columns(document: Mapping[str, object], schema: Schema) -> Items:
    if isinstance(document["columns"], dict):
        return rows_of_columns(cast("dict[str, object]", document["columns"]), "columns")
    return _split(document, schema, "columns")


def _dataframe_split(document: Mapping[str, object], schema: Schema) -> Items:
    value = document["dataframe_split"]
    if not isinstance(value, dict):
        raise Problem(400, "dataframe_split: expected an object with columns and data")
    return _split(cast("dict[str, object]", value), schema, "dataframe_split")


def _rows_or_columns(value: object, where: str) -> Items:
    if isinstance(value, dict):
        return rows_of_columns(cast("dict[str, object]", value), where)
    if isinstance(value, list):
        return cast("Items", value)
    raise Problem(400, f"{where}: expected rows or columns")


def _split(value: Mapping[str, object], schema: Schema, where: str) -> Items:
    """Rows of ``{"columns": [names], "data": [[values]]}``; without names they are in the schema's order."""
    names, data = value.get("columns", list(schema.names)), value.get("data")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in cast("Items", names)):
        raise Problem(400, f"{where}: columns are a list of names")
    if not isinstance(data, list):
        raise Problem(400, f"{where}: data is a list of rows")
    columns = cast("list[str]", names)
    if len(set(columns)) < len(columns):
        raise Problem(400, f"{where}: a column is named twice")
    check_count(len(cast("Items", data)))
    rows: list[object] = []
    for index, row in enumerate(cast("Items", data)):
        if not isinstance(row, list) or len(cast("Items", row)) != len(columns):
            raise Problem(400, f"row {index}: expected a list of {len(columns)} values")
        rows.append(dict(zip(columns, cast("Items", row), strict=True)))
    return rows


_ITEMS: dict[str, Callable[[Mapping[str, object], Schema], Items]] = {
    "instances": _list_of("instances"),
    "dataframe_records": _list_of("dataframe_records"),
    "data": _list_of("data"),
    "features": _list_of("features"),
    "inputs": _inputs,
    "input_data": _input_data,
    "columns": _columns,
    "dataframe_split": _dataframe_split,
}
