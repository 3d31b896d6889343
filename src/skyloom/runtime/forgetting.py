"""`skyloom erase`: events of a subject forgotten, with what went from where, and what is left to be cut by others."""

from collections.abc import Sequence

import msgspec

from skyloom.ingest.deadletter import dead_letter_table
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import DataError, NotFound, Transient, UsageError
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Type
from skyloom.platform import Platform
from skyloom.ports.lake import Lake
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import actor, applied
from skyloom.runtime.worker import erase

Value = str | int | bool

_TRUTHS = {"true": True, "false": False}
_SMALL = {"events": "_offset", "deadletter": "_offset", "quarantine": "at"}
"""A column that is cheap to count, by the kind of table."""


class Named(msgspec.Struct, frozen=True):
    """Which events of ``source`` are meant: those whose ``column`` is one of ``values``, ``events`` of them in the lake."""

    source: str
    column: str
    values: tuple[Value, ...]
    events: int


class Forgotten(msgspec.Struct, frozen=True):
    """An erasure that was carried out: the rows that went, by table of the lake; the groups of features that were built
    again for the entities of these rows; and ``kept``, what it does not touch."""

    id: str
    source: str
    column: str
    values: tuple[Value, ...]
    rows: dict[str, int]
    groups: tuple[str, ...]
    kept: tuple[str, ...]


def named_events(platform: Platform, source: str, where: Sequence[str], keys: Sequence[str]) -> Named:
    """What ``COLUMN=VALUE`` texts (``where``), and values of the source's key (``keys``), name.

    Values follow the type of their column. Returns when the lake holds all that is in the log. Raises `NotFound` for a
    source or column that is not there, `UsageError` for several columns or none, `DataError` for a value of another type.
    """
    project = applied(platform.metadata).project
    found = _source(source, project.sources)
    pairs = [_pair(text) for text in where] + [(found.schema.key, key) for key in keys]
    columns = list(dict.fromkeys(column for column, _ in pairs))
    if len(columns) != 1:
        raise UsageError(
            f"an erasure names events by one column, and not by {' and '.join(columns) or 'none'}",
            fix=f"skyloom erase {source} --where COLUMN=VALUE, for each column by itself",
        )
    _require_column(columns[0], found)
    values = tuple(dict.fromkeys(_typed(text, columns[0], found) for _, text in pairs))
    settle(platform, project)
    return Named(source, columns[0], values, _count(platform.lake, events_topic(source), columns[0], values))


def forget(platform: Platform, named: Named) -> Forgotten:
    """Ask for the events to be forgotten, and return once the worker has carried it out.

    Raises `Transient` when that is not done within a minute: it is asked for then, and will be done.
    """
    project, topic = applied(platform.metadata).project, events_topic(named.source)
    tables = (topic, dead_letter_table(named.source), f"quarantine/{named.source}")
    before = {table: platform.lake.version(table) or 0 for table in tables}
    asked = erase(platform, named.source, named.column, named.values, actor=actor())
    try:
        settle(platform, project)
    except Transient as error:
        raise Transient(
            f"the erasure {asked.id} is recorded, but not carried out yet: {error.what}",
            tried=error.tried,
            fix=f"{error.fix}: skyloom up, or the next skyloom ingest, carries it out",
        ) from error
    rows = {table: _gone(platform.lake, table, before[table], asked.id) for table in tables}
    groups = tuple(name for name, group in project.groups.items() if group.source == named.source and rows[topic])
    return Forgotten(asked.id, named.source, named.column, named.values, rows, groups, _kept(project.sources[named.source]))


def _kept(source: SourceDef) -> tuple[str, ...]:
    """What an erasure leaves as it is."""
    came_from = [] if source.table is None else [f"{source.table}: rows of it that are brought in again are kept"]
    return (
        f"the log of {events_topic(source.name)}, until it is cut by the profile's retention",
        "old versions of these tables of the lake, until they are vacuumed",
        "receipts and outcomes of predictions",
        "training sets and models that were made before",
        "the record of this erasure, with the values that it names",
        *came_from,
    )


def _source(name: str, sources: dict[str, SourceDef]) -> SourceDef:
    if name in sources:
        return sources[name]
    near = nearest(name, list(sources)) or list(sources)
    raise NotFound(f"there is no source {name!r}", tried=", ".join(sources), fix=f"did you mean {' or '.join(near)}?")


def _pair(text: str) -> tuple[str, str]:
    column, sign, value = text.partition("=")
    if not sign or not column:
        raise UsageError(f"{text!r} names no events", fix="write --where COLUMN=VALUE")
    return column, value


def _require_column(column: str, source: SourceDef) -> None:
    names = source.schema.names
    if column not in names:
        near = nearest(column, list(names)) or list(names)
        raise NotFound(
            f"{source.name} has no column {column!r}", tried=", ".join(names), fix=f"did you mean {' or '.join(near)}?"
        )


def _typed(text: str, column: str, source: SourceDef) -> Value:
    """A value as its column has it."""
    kind = source.schema[column].type
    if kind is Type.INT:
        try:
            return int(text)
        except ValueError:
            raise _misfit(text, column, source, "a whole number, such as 42") from None
    if kind is Type.BOOL:
        if text.lower() not in _TRUTHS:
            raise _misfit(text, column, source, "true or false")
        return _TRUTHS[text.lower()]
    if kind is Type.STRING:
        return text
    raise DataError(
        f"{source.name}.{column} is a {kind}: it cannot name what is to be erased",
        fix="name a subject by a column of texts or whole numbers, or an event by --key",
    )


def _misfit(text: str, column: str, source: SourceDef, wanted: str) -> DataError:
    kind = source.schema[column].type
    return DataError(f"{source.name}.{column} is a {kind}, and {text!r} is none", fix=f"give {wanted}")


def _count(lake: Lake, table: str, column: str, values: Sequence[Value]) -> int:
    if lake.version(table) is None:
        return 0
    return len(lake.read(table, columns=[column], where=[(column, "in", list(values))]))


def _gone(lake: Lake, table: str, before: int, erasure: str) -> int:
    """How many rows the version of a table that notes the erasure, one after ``before``, has less than the one before it."""
    for version in range(lake.version(table) or 0, before, -1):
        if lake.note(table, version).get("erasure") == erasure:
            return _rows(lake, table, version - 1) - _rows(lake, table, version)
    return 0


def _rows(lake: Lake, table: str, version: int) -> int:
    return sum(batch.num_rows for batch in lake.scan(table, columns=[_SMALL[table.partition("/")[0]]], version=version))
