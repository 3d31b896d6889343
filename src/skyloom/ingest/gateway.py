"""The way in for rows of a stream: typed, checked, and appended to the log before they are acknowledged."""

import json
from collections.abc import Sequence

import msgspec

from skyloom.ingest.rows import RowType, Value, check_row, encode_rows, row_type
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.log import Log, NewBatch


class Rejection(msgspec.Struct, frozen=True):
    """Row ``index`` of a request did not keep the contract."""

    index: int
    reason: str


class Accepted(msgspec.Struct, frozen=True):
    """What became of the rows of one request; ``first_offset`` is where the accepted ones begin in the log."""

    accepted: int
    rejected: tuple[Rejection, ...]
    first_offset: int | None


def accept(log: Log, source: SourceDef, rows: Sequence[object], now_ms: int) -> Accepted:
    """Check rows and append the good ones durably, in one transaction; the others go to the quarantine topic."""
    return accept_many(log, source, [rows], now_ms)[0]


def accept_many(log: Log, source: SourceDef, requests: Sequence[Sequence[object]], now_ms: int) -> list[Accepted]:
    """`accept` for several requests with one durable append. Raises `Transient` when nothing could be written."""
    rows_of = row_type(source.schema)
    judged = [_judge(rows_of, source, rows, now_ms) for rows in requests]
    rejects = [(reason, requests[r][i]) for r, (_, bad) in enumerate(judged) for i, reason in bad]
    if rejects:
        payload = msgspec.msgpack.encode([(reason, _text(row), "stream", now_ms) for reason, row in rejects])
        log.append(f"quarantine/{source.name}", [NewBatch(len(rejects), now_ms, False, payload)])
    batches = [NewBatch(len(good), now_ms, False, encode_rows(good)) for good, _ in judged if good]
    firsts = iter(log.append(f"events/{source.name}", batches) if batches else [])
    return [
        Accepted(len(good), tuple(Rejection(i, reason) for i, reason in bad), next(firsts) if good else None)
        for good, bad in judged
    ]


def _judge(
    row_type: RowType, source: SourceDef, rows: Sequence[object], now_ms: int
) -> tuple[list[tuple[Value, ...]], list[tuple[int, str]]]:
    good: list[tuple[Value, ...]] = []
    bad: list[tuple[int, str]] = []
    for index, row in enumerate(rows):
        try:
            values = row_type.from_object(row)
            reason = check_row(values, source, now_ms)
        except DataError as error:
            bad.append((index, error.what))
            continue
        if reason is None:
            good.append(values)
        else:
            bad.append((index, reason))
    return good, bad


def _text(row: object) -> str:
    """The row as JSON, whatever it is: what is refused is kept."""
    try:
        return msgspec.json.encode(row).decode()
    except UnicodeEncodeError:
        return json.dumps(row)
    except RecursionError:
        return json.dumps(f"{type(row).__name__}, nested too deeply to be kept")
