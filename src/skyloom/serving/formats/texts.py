"""CSV, with a line of names or without one."""

import csv
import io
from typing import Any

import pyarrow as pa

from skyloom.ingest.texts import typed
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Type
from skyloom.serving.formats.asked import Asked, check_count
from skyloom.serving.formats.tables import check_names, rows_of_table
from skyloom.serving.wire import Problem

HEADERS = ("", "present", "absent")


def read_csv(source: SourceDef, body: bytes, header: str = "") -> Asked:
    """The rows of CSV in UTF-8. Texts become values as they do in files that are ingested: an empty one is null in every
    column that holds no texts.

    ``header`` says whether the first line holds names (``present``, ``absent``); by default it does, unless it reads as a
    row in the schema's order. Raises `Problem`: 400 for what is no CSV or breaks the schema, 413 for too many rows.
    """
    if header not in HEADERS:
        raise Problem(400, f"header={header}: say present or absent")
    lines = _parsed(body)
    if not lines:
        raise Problem(400, "the body holds no line")
    named = header == "present" or (header == "" and not _is_row(source, lines[0]))
    names = lines.pop(0) if named else list(source.schema.names)
    check_names(names, source.schema)
    check_count(len(lines))
    for index, line in enumerate(lines):
        if len(line) != len(names):
            raise Problem(400, f"row {index}: {len(line)} values for {len(names)} columns")
    table, faults = typed(_texts(source, names, lines), source)
    return Asked(rows_of_table(table, source, faults), "csv")


def _parsed(body: bytes) -> list[list[str]]:
    try:
        text = body.decode("utf-8-sig")
        return [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is no CSV in UTF-8: {error}") from error


def _is_row(source: SourceDef, line: list[str]) -> bool:
    if len(line) != len(source.schema.fields):
        return False
    _, faults = typed(_texts(source, list(source.schema.names), [line]), source)
    return not faults[0]


def _texts(source: SourceDef, names: list[str], lines: list[list[str]]) -> pa.Table:
    """Columns of texts in the schema's order; one that is not there is empty, and null where it would hold texts."""
    found = dict(zip(names, zip(*lines, strict=True), strict=True)) if lines else {}
    columns: dict[str, Any] = {}
    for field in source.schema.fields:
        absent = [None if field.type is Type.STRING else ""] * len(lines)
        columns[field.name] = pa.chunked_array([pa.array(found.get(field.name, absent), pa.string())])
    return pa.table(columns)
