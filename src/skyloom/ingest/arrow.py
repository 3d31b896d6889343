"""Rows of a stream that come as Arrow: read with care, since anybody may have made them, and judged as JSON is."""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.ingest.contract import check_table, conform, require_columns, row_text, shown_rows
from skyloom.ingest.gateway import Bad, Judged
from skyloom.ingest.limits import MAX_EXPANDED, MAX_REQUEST_ROWS, too_many
from skyloom.ingest.partitions import pack_table
from skyloom.ingest.rows import null_reason
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef

pc: Any = _compute
_ORIGIN = "the body"
_FIX = "send an Arrow IPC stream, such as pyarrow.ipc.new_stream writes"


def judge_stream(body: bytes, source: SourceDef, now_ms: int, partitions: int = 1) -> Judged:
    """Judge the rows of an Arrow IPC stream; reasons and order are those of the same rows as JSON.

    Raises `DataError` for a body that is no stream, whose columns are not the declared ones (naming the first), with more
    than `MAX_REQUEST_ROWS` rows, or that would take more than `MAX_EXPANDED` bytes once unpacked.
    """
    table = conform(read_stream(body, lambda names: _check_names(names, source)), source, _ORIGIN)
    checked = check_table(table, source, now_ms, unique=False)
    nulls = {f"{field.name}: null": null_reason(field) for field in source.schema.fields}
    texts = shown_rows(table, [row for row, _ in checked.rejects])
    bad = [
        Bad(row, nulls.get(reason, reason), row_text(text))
        for (row, reason), text in zip(checked.rejects, texts, strict=True)
    ]
    return Judged(len(checked.good), pack_table(checked.good, source, partitions), bad)


def _check_names(names: Sequence[str], source: SourceDef) -> None:
    extra = sorted(set(names) - set(source.schema.names))
    require_columns(names, source, _ORIGIN)
    if extra:
        raise DataError(f"{extra[0]}: unknown column", tried=f"the columns of {_ORIGIN}", fix="leave it out")


def read_stream(body: bytes, check_names: Callable[[Sequence[str]], None]) -> pa.Table:
    """The rows of a stream, whole and valid, of bounded size; ``check_names`` sees the columns before any row is read.

    Raises `DataError` as `judge_stream`, and what ``check_names`` raises.
    """
    try:
        _check_unpacked(body)
        with pa.ipc.open_stream(body) as reader:
            check_names(reader.schema.names)
            batches, rows, size = [], 0, 0
            for batch in reader:
                rows += batch.num_rows
                if rows > MAX_REQUEST_ROWS:
                    raise too_many()
                batch.validate(full=True)
                size += sum(expanded(column) for column in batch.columns)
                if size > MAX_EXPANDED:
                    raise too_large()
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, struct.error) as error:
        raise DataError(f"{_ORIGIN} is no Arrow stream: {error}", fix=_FIX) from error


def too_large() -> DataError:
    """What is said of a body that unpacks to more than `MAX_EXPANDED` bytes."""
    return DataError(f"{_ORIGIN} unpacks to more than {MAX_EXPANDED:,} bytes", fix="send fewer rows at once")


def expanded(column: pa.Array) -> int:
    """The bytes of a column's texts once each row holds its own (views and dictionaries share them)."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        if len(column.dictionary) == 0:
            return 0
        widths = pa.array(_widths(column.dictionary))
        return pc.sum(pc.take(widths, column.indices)).as_py() or 0
    return int(_widths(column).sum()) if pa.types.is_string_view(kind) else 0


def _widths(texts: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The length of each text in bytes; 0 for what is no text."""
    kind = texts.type
    if pa.types.is_string_view(kind):
        views = np.frombuffer(texts.buffers()[1], np.int32)[::4]
        lengths = views[texts.offset : texts.offset + len(texts)].astype(np.int64)
        return np.where(texts.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.binary_length(texts).cast(pa.int64()).fill_null(0).to_numpy()
    return np.zeros(len(texts), np.int64)


def _check_unpacked(body: bytes) -> None:
    """Refuse a stream whose buffers say that they unpack to too much, before any is unpacked."""
    total = 0
    for message in pa.ipc.MessageReader.open_stream(body):
        total += sum(_unpacked(message))
        if total > MAX_EXPANDED:
            raise too_large()


_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


def _unpacked(message: Any) -> Iterator[int]:
    """How long each buffer of a message is once it is unpacked (Arrow's format, Message.fbs; Arrow has verified it)."""
    head = memoryview(message.metadata)
    root = _u32(head, 0)
    kind_at, header_at = _slot(head, root, 1), _slot(head, root, 2)
    kind = head[kind_at] if kind_at else 0
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH) or not header_at:
        return
    batch = header_at + _u32(head, header_at)
    if kind == _DICTIONARY_BATCH:
        data_at = _slot(head, batch, 1)
        batch = data_at + _u32(head, data_at)
    buffers_at, packed = _slot(head, batch, 2), _slot(head, batch, 3)
    if not buffers_at:
        return
    vector = buffers_at + _u32(head, buffers_at)
    body = memoryview(message.body) if message.body is not None else memoryview(b"")
    for number in range(_u32(head, vector)):
        offset, length = struct.unpack_from("<qq", head, vector + 4 + 16 * number)
        if packed and length:
            [told] = struct.unpack_from("<q", body, offset)
            length = length - 8 if told == -1 else told
        if length < 0:
            raise struct.error("a buffer of negative length")
        yield length


def _slot(head: memoryview, table: int, number: int) -> int:
    """Where field ``number`` of a flatbuffers table lies; 0 when it is left out."""
    [back] = struct.unpack_from("<i", head, table)
    vtable = table - back
    [size] = struct.unpack_from("<H", head, vtable)
    place = 4 + 2 * number
    if place >= size:
        return 0
    [at] = struct.unpack_from("<H", head, vtable + place)
    return table + at if at else 0


def _u32(head: memoryview, at: int) -> int:
    return struct.unpack_from("<I", head, at)[0]
