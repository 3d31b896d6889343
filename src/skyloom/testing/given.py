"""Unit tests of features: events in, values out, in milliseconds and without a store.

The kernel is the one of training sets, the stream worker and serving; only what feeds it is smaller.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

from skyloom.kernel.errors import DataError, UsageError

if TYPE_CHECKING:  # what loads the kernel and Arrow is imported when a value is asked for
    import pyarrow as pa

    from skyloom.kernel.expr import Term
    from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef
    from skyloom.spec.features import Features
    from skyloom.spec.source import Source
    from skyloom.spec.table import Table

Moment = datetime | int | str
"""A `datetime` with a time zone, milliseconds since 1970, or text such as ``"2013-04-01T12:00Z"``."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Arrived(NamedTuple):
    """One typed row of a source, and the moment (ms) at which it came in."""

    source: "Source"
    values: tuple[Any, ...]
    at: int


class Given:
    """Events that have come in, to ask for features at moments. It never changes: `also` gives another one."""

    def __init__(self, arrived: tuple[_Arrived, ...], sources: "tuple[Source, ...]") -> None:
        self._arrived, self._sources = arrived, sources

    def also(self, source: "Source", events: Iterable[Any], *, arrived: Moment | None = None) -> "Given":
        """The same events and some more: of another source, or that arrived at another time. As `given`."""
        rows = tuple(_Arrived(source, *_typed(source, row, arrived)) for row in events)
        return Given((*self._arrived, *rows), (*self._sources, source))

    def at(
        self, moment: Moment, features: "Features | Table", *, by: str | int | Sequence[str | int | None] | None
    ) -> dict[str, Any]:
        """The features of one entity at a moment, by name (without the group's), or the columns of its newest row in an
        entity table; ``None`` is null, and times are milliseconds since 1970.

        ``by`` is the entity: a value of the column that ``features`` are by, or the values of all of these columns in order.
        What arrived before ``moment`` is seen, and nothing else; the first copy of a key counts. Raises `DeclarationError`
        when the features cannot be, `DataError` for an event that would be refused on its way in, and `UsageError`.
        """
        from skyloom.features.offline.pit import Asked, join
        from skyloom.features.tables import looked_up

        group, source = _compiled(features)
        self._require_source(features, group)
        t, entity = milliseconds_of(moment), _entity(features, group, source, by)
        events, order = self._events(features.source, source)
        asked = Asked(entity, _int64s([t]), _int64s([t]))
        if group.attributes:
            columns = looked_up(group, source, events, order, asked)
            return {name: _plain(column) for name, column in zip(group.attributes, columns, strict=True)}
        values = join(group, source, events, order, asked)[0].tolist()
        named = zip(group.aggregates, values, strict=True)
        return {aggregate.name: None if isnan(value) else value for aggregate, value in named}

    def row(self, source: "Source", request: Any, *expressions: "Term") -> dict[str, Any]:
        """The values of expressions, by their names, for a request of ``source`` (a dictionary or an instance of its event
        type) at its own time: over its columns, over windowed features and over rows of entity tables.

        Raises `DataError` for a request that does not fit its type, `UsageError`, and `DeclarationError` for an expression
        that cannot be.

        >>> import skyloom as sky
        >>> class Payment(sky.Event):
        ...     id: str = sky.key()
        ...     at: sky.Timestamp = sky.time()
        ...     card: str
        ...     amount: float
        >>> payments = sky.Source(Payment)
        >>> spent = sky.Features(payments, by="card", amount=sky.mean("amount", over=["7d"]))
        >>> world = given(payments, [{"id": "1", "at": "2025-03-01T10:00Z", "card": "c7", "amount": 20.0}])
        >>> request = {"id": "2", "at": "2025-03-01T12:00Z", "card": "c7", "amount": 50.0}
        >>> world.row(payments, request, (sky.col("amount") / spent["amount_7d"]).named("times"))
        {'times': 2.5}
        """
        from skyloom.spec.event import schema_of
        from skyloom.testing.asked import values_of

        schema = schema_of(source.event)
        values, _ = _typed(source, request, None)
        return values_of(dict(zip(schema.names, values, strict=True)), schema, expressions, self.at)

    def _require_source(self, features: "Features | Table", group: "FeatureGroupDef") -> None:
        if not any(source is features.source for source in self._sources):
            raise UsageError(
                f"no events of {group.source} were given, and the features are made of them",
                tried=f"events of {', '.join(source.event.__name__ for source in self._sources)}",
                fix="give the source that the features are declared over, with [] for no events",
            )

    def _events(self, declared: "Source", source: "SourceDef") -> "tuple[pa.Table, Any]":
        """First copies in order of arrival, in the columns of the lake, and the moment at which each came in, shape [n]."""
        from skyloom.ingest.codec import decode
        from skyloom.ingest.rows import check_row, encode_rows
        from skyloom.ports.log import LogBatch

        batches: list[LogBatch] = []
        key, seen = source.schema.names.index(source.schema.key), set[Any]()
        for row in sorted((row for row in self._arrived if row.source is declared), key=lambda row: row.at):
            refusal = check_row(row.values, source, row.at)
            if refusal is not None:
                raise DataError(f"this event of {source.name} would be refused: {refusal}", tried=_shown(source, row.values))
            if row.values[key] not in seen:
                seen.add(row.values[key])
                batches.append(LogBatch(len(batches), 1, row.at, False, encode_rows([row.values])))
        return decode(batches, source.schema), _int64s([batch.appended_ms for batch in batches])


def given(source: "Source", events: Iterable[Any], *, arrived: Moment | None = None) -> "Given":
    """Events of a source, to unit-test features with: `Given.at` tells their values at a moment.

    ``events`` are dictionaries or instances of the source's event type. Each arrives at its own time, or all at
    ``arrived``; `Given.also` adds others. Raises `DataError` for an event that does not fit its type.

    >>> import skyloom as sky
    >>> class Landing(sky.Event):
    ...     flight: str = sky.key()
    ...     at: sky.Timestamp = sky.time()
    ...     carrier: str
    ...     delay: float
    >>> landings = sky.Source(Landing)
    >>> recent = sky.Features(landings, by="carrier", delay=sky.mean("delay", over=["1h"]), n=sky.count(over=["1h"]))
    >>> world = given(landings, [
    ...     {"flight": "UA1", "at": "2013-04-01T11:10Z", "carrier": "UA", "delay": 30.0},
    ...     {"flight": "UA2", "at": "2013-04-01T11:50Z", "carrier": "UA", "delay": 0.0}])
    >>> world.at("2013-04-01T12:00Z", recent, by="UA")
    {'delay_1h': 15.0, 'n_1h': 2.0}
    >>> world.at("2013-04-01T11:50Z", recent, by="UA")  # UA2 lands at this moment: not before it
    {'delay_1h': 30.0, 'n_1h': 1.0}
    >>> world.at("2013-04-01T12:00Z", recent, by="DL")
    {'delay_1h': None, 'n_1h': 0.0}
    """
    return Given((), ()).also(source, events, arrived=arrived)


def milliseconds_of(moment: Moment) -> int:
    """A moment in milliseconds since 1970 (UTC). Raises `UsageError` for text that is no moment or has no time zone.

    >>> milliseconds_of("1970-01-01T00:01Z"), milliseconds_of(5)
    (60000, 5)
    """
    if isinstance(moment, int):
        return moment
    try:
        aware = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError as error:
        raise UsageError(f"{moment!r} is no moment", fix='write it as "2013-04-01T12:00Z"') from error
    if aware.tzinfo is None:
        raise UsageError(f"{moment} has no time zone", fix='write it as "2013-04-01T12:00Z"')
    return (aware - _EPOCH) // timedelta(milliseconds=1)


def _typed(source: "Source", row: Any, arrived: Moment | None) -> tuple[tuple[Any, ...], int]:
    from skyloom.ingest.rows import row_type
    from skyloom.kernel.schema import Type
    from skyloom.spec.event import schema_of

    schema = schema_of(source.event)
    given = dict(row) if isinstance(row, Mapping) else dict(vars(row))
    times = [field.name for field in schema.fields if field.type is Type.TIMESTAMP]
    moments = {name: milliseconds_of(given[name]) for name in times if isinstance(given.get(name), str | datetime)}
    try:
        values = row_type(schema).from_object({**given, **moments})
    except DataError as error:
        raise DataError(
            f"{source.event.__name__}: {error.what}", tried=repr(given), fix="give the columns that it declares"
        ) from None
    happened = values[schema.names.index(schema.time)]
    return values, int(happened) if arrived is None else milliseconds_of(arrived)  # pyright: ignore[reportArgumentType]


def _plain(column: "pa.ChunkedArray") -> Any:
    """The value of a column of one row."""
    import pyarrow as pa

    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()[0]


def _compiled(features: "Features | Table") -> "tuple[FeatureGroupDef, SourceDef]":
    from pathlib import Path

    from skyloom.plan.compile import compile_project
    from skyloom.spec.project import Project
    from skyloom.spec.table import Table

    name = features.source.event.__name__
    groups, tables = ({}, {"features": features}) if isinstance(features, Table) else ({"features": features}, {})
    project = Project("given", Path(), "the features", {name: features.source}, groups, {}, {}, tables)
    compiled = compile_project(project)
    return compiled.groups["features"], compiled.sources[name]


def _entity(features: "Features | Table", group: "FeatureGroupDef", source: "SourceDef", by: Any) -> "list[pa.ChunkedArray]":
    """The entity's columns, each of one row."""
    import pyarrow as pa

    from skyloom.kernel.columns import ARROW_TYPES

    entity: tuple[Any, ...] = (by,) if by is None or isinstance(by, str | int) else tuple(by)
    if len(entity) != len(features.by):
        raise UsageError(
            f"by={by!r} names {len(entity)} of the {len(features.by)} columns of the entity",
            tried=f"features by {', '.join(group.by)}",
            fix=f"give by=({', '.join(group.by)})" if len(features.by) > 1 else f"give one value of {group.by[0]}",
        )
    columns: list[pa.ChunkedArray] = []
    for column, value in zip(group.by, entity, strict=True):
        kind = source.schema[column].type
        try:
            columns.append(pa.chunked_array([pa.array([value], ARROW_TYPES[kind])]))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise UsageError(f"by={value!r}: {column} is a {kind}", fix=f"give a {kind}") from error
    return columns


def _shown(source: "SourceDef", values: tuple[Any, ...]) -> str:
    return repr(dict(zip(source.schema.names, values, strict=True)))


def _int64s(values: list[int]) -> Any:
    import numpy as np

    return np.array(values, np.int64)
