"""The way in for rows of a stream: typed, checked, and appended to the log before they are acknowledged."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from skyloom.ingest.limits import MAX_REQUEST_ROWS, too_many
from skyloom.ingest.partitions import Appender, Portion, pack_rows
from skyloom.ingest.rows import Value, check_row, row_type
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.log import Log, NewBatch

_Row = TypeVar("_Row")


class Rejection(msgspec.Struct, frozen=True):
    """Row ``index`` of a request did not keep the contract."""

    index: int
    reason: str


class Accepted(msgspec.Struct, frozen=True):
    """What became of the rows of one request; ``first_offset`` is where the accepted ones begin in the log. Where the source
    has several partitions they begin in each of them somewhere else, and it is ``None``."""

    accepted: int
    rejected: tuple[Rejection, ...]
    first_offset: int | None


class Bad(NamedTuple):
    """Row number ``row`` broke the contract; ``text`` is the row itself as JSON."""

    row: int
    reason: str
    text: str


class Judged(NamedTuple):
    """Rows held against the contract: ``good`` of them as they go into the log, in a portion a partition, and the others."""

    good: int
    portions: list[Portion]
    bad: list[Bad]


Judge = Callable[[SourceDef, int, int], Judged]
"""Rows that wait to be judged by a source's contract at a moment (ms), for a number of partitions. Raises `DataError` for a
body that is no rows."""


def accept(log: Log, source: SourceDef, rows: Sequence[object], now_ms: int) -> Accepted:
    """Check rows and append the good ones durably; the others go to the quarantine topic."""
    return accept_many(log, source, [rows], now_ms)[0]


def accept_many(log: Log, source: SourceDef, requests: Sequence[Sequence[object]], now_ms: int) -> list[Accepted]:
    """`accept` for several requests, with one durable append a partition. Raises `Transient`, as `take_many` does."""
    appender = Appender(log, source)
    judged = [judge_objects(rows, source, now_ms, appender.partitions) for rows in requests]
    return _append_judged(log, source, judged, appender, now_ms)


def take_many(log: Log, source: SourceDef, judges: Sequence[Judge], now_ms: int) -> list[Accepted | DataError]:
    """Judge and append several requests with one durable append a partition; a body that is no rows gives its error alone.

    Raises `Transient` when the log cannot be written. Some partitions may then have their rows, but no reject is kept yet:
    who sends all of it again sends good rows that are known by their keys, and bad ones once.
    """
    appender = Appender(log, source)
    judged: list[Judged | DataError] = []
    for judge in judges:
        try:
            judged.append(judge(source, now_ms, appender.partitions))
        except DataError as error:
            judged.append(error)
    taken = [each for each in judged if isinstance(each, Judged)]
    done = iter(_append_judged(log, source, taken, appender, now_ms))
    return [each if isinstance(each, DataError) else next(done) for each in judged]


def _append_judged(log: Log, source: SourceDef, judged: Sequence[Judged], to: Appender, now_ms: int) -> list[Accepted]:
    """Append what was judged: the good rows first, so that a log that refuses them has not kept the others yet."""
    spans = to.append((portion for each in judged for portion in each.portions), now_ms, imported=False)
    rejects = [(bad.reason, bad.text, "stream", now_ms) for each in judged for bad in each.bad]
    if rejects:
        log.append(f"quarantine/{source.name}", [NewBatch(len(rejects), now_ms, False, msgspec.msgpack.encode(rejects))])
    alone = to.partitions == 1  # then each request with good rows is one portion
    firsts = iter(spans.get(0, ()))
    return [
        Accepted(
            each.good,
            tuple(Rejection(bad.row, bad.reason) for bad in each.bad),
            next(firsts).start if alone and each.good else None,
        )
        for each in judged
    ]


def judge_objects(rows: Sequence[object], source: SourceDef, now_ms: int, partitions: int = 1) -> Judged:
    """Judge decoded JSON objects."""
    return judge_each(rows, row_type(source.schema).from_object, _text, source, now_ms, partitions)


def judge_lines(body: bytes, source: SourceDef, now_ms: int, partitions: int = 1) -> Judged:
    """Judge lines of JSON, one object each. A line that is no JSON is a bad row; empty lines are none.

    >>> from skyloom.kernel.schema import Field, Schema, Type
    >>> visits = SourceDef("visits", Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP)), "id", "at"))
    >>> judge_lines(b'{"id": "a", "at": 5}\\n{"id": 3, "at": 5}\\n', visits, 10).bad
    [Bad(row=1, reason='id: expected a string, got int', text='{"id": 3, "at": 5}')]

    Raises `DataError` for more than `MAX_REQUEST_ROWS` lines.
    """
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) > MAX_REQUEST_ROWS:
        raise too_many()
    return judge_each(lines, row_type(source.schema).from_json, as_json, source, now_ms, partitions)


def judge_each(
    rows: Sequence[_Row],
    read: Callable[[_Row], tuple[Value, ...]],
    text: Callable[[_Row], str],
    source: SourceDef,
    now_ms: int,
    partitions: int = 1,
) -> Judged:
    """Judge rows that ``read`` gives the values of, or a `DataError`; ``text`` is what is kept of a bad one."""
    good: list[tuple[Value, ...]] = []
    bad: list[Bad] = []
    for index, row in enumerate(rows):
        try:
            values = read(row)
            reason = check_row(values, source, now_ms)
        except DataError as error:
            bad.append(Bad(index, error.what, text(row)))
            continue
        if reason is None:
            good.append(values)
        else:
            bad.append(Bad(index, reason, text(row)))
    return Judged(len(good), pack_rows(good, source, partitions), bad)


def as_json(line: bytes) -> str:
    """A line as it is kept: itself when it is JSON, else its text as a JSON string."""
    try:
        msgspec.json.decode(line)
        return line.decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return json.dumps(line.decode(errors="replace"))


def _text(row: object) -> str:
    """The row as JSON, whatever it is: what is refused is kept."""
    try:
        return msgspec.json.encode(row).decode()
    except UnicodeEncodeError:
        return json.dumps(row)
    except RecursionError:
        return json.dumps(f"{type(row).__name__}, nested too deeply to be kept")
