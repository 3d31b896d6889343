"""Parquet, from anybody: what it would unpack to is known before it is unpacked."""

from typing import Any

import pyarrow as pa

from skyloom.ingest.arrow import expanded
from skyloom.ingest.limits import MAX_EXPANDED
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Type
from skyloom.serving.formats.asked import Asked, check_count
from skyloom.serving.formats.pages import pages_of
from skyloom.serving.formats.tables import check_names, rows_of_table
from skyloom.serving.wire import Problem

_BATCH = 4_096
_DELTA_BYTE_ARRAY = 7
_BROKEN = (pa.ArrowException, OSError, ValueError, IndexError, EOFError)


def read_parquet(source: SourceDef, body: bytes) -> Asked:
    """The rows of a file. Raises `Problem`: 400 for what is no Parquet, breaks the schema or shares the beginnings of texts
    (DELTA_BYTE_ARRAY: a few bytes may stand for any number), 413 for what has too many rows or unpacks to too much."""
    from pyarrow.parquet import ParquetFile, read_metadata

    limits: dict[str, Any] = {"thrift_string_size_limit": len(body), "thrift_container_size_limit": len(body)}
    try:
        metadata = read_metadata(pa.BufferReader(body))
        names = metadata.schema.to_arrow_schema().names
        check_names(names, source.schema)
        if [metadata.schema.column(place).path for place in range(metadata.num_columns)] != names:
            raise Problem(400, "the columns hold lists or structs, not single values")
        check_count(metadata.num_rows)
        _check_pages(metadata, body)
        with ParquetFile(pa.BufferReader(body), metadata=metadata, read_dictionary=_texts(names, source), **limits) as file:
            return Asked(rows_of_table(_read(file), source), "parquet")
    except _BROKEN as error:
        raise Problem(400, f"the body is no Parquet: {error}") from error


def _texts(names: list[str], source: SourceDef) -> list[str]:
    """The columns of texts: read as dictionaries, so that many rows can share a long one until they are counted."""
    return [name for name in names if source.schema[name].type is Type.STRING]


def _read(file: Any) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in file.iter_batches(_BATCH, use_threads=False):
        rows += batch.num_rows
        check_count(rows)
        batch.validate(full=True)
        size += sum(expanded(column) for column in batch.columns)
        if size > MAX_EXPANDED:
            raise _too_large()
        batches.append(batch)
    return pa.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()


def _check_pages(metadata: Any, body: bytes) -> None:
    total = 0
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            start = column.data_page_offset
            if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
                start = column.dictionary_page_offset
            for page in pages_of(body, start, column.total_compressed_size):
                total += page.unpacked
                if total > MAX_EXPANDED:
                    raise _too_large()
                if _DELTA_BYTE_ARRAY in page.encodings:
                    name = column.path_in_schema
                    raise Problem(400, f"{name} is encoded as DELTA_BYTE_ARRAY, which is not read; write it plain")


def _too_large() -> Problem:
    return Problem(413, f"the body unpacks to more than {MAX_EXPANDED:,} bytes")
