"""Windows: how long, by which steps their tails move, and how exactly sums over them are kept."""

from collections.abc import Iterator

from skyloom.kernel.expr import typed
from skyloom.kernel.records.definitions import LIFETIME, AggregateDef
from skyloom.kernel.schema import Schema, Type
from skyloom.kernel.units import DAY, HOUR, MINUTE, SECOND, parse_duration
from skyloom.spec.aggregate import LIFETIME_TEXT, Aggregate
from skyloom.spec.event import schema_of
from skyloom.spec.features import Features

EXACT = 2.0**53
"""The greatest scaled integer up to which a binary64 tells all apart; 511 of them add up to less than 62 bits."""

SUMMED = ("sum", "mean", "var", "stddev")
"""The kinds of aggregates that sum a column, and so bound its values."""

_SHORT = (MINUTE, SECOND)


def hop_of(window_ms: int) -> int:
    """The hop of a window for which none was declared, in milliseconds.

    A day from 12 days on, an hour from 12 hours on, else five minutes (the hops of Chronon's sawtooth windows); a
    window below five minutes has the largest of a minute and a second that divides it, else a second.

    >>> [hop_of(window) for window in (12 * DAY, 12 * HOUR, HOUR, 90 * SECOND)] == [DAY, HOUR, 5 * MINUTE, SECOND]
    True
    """
    if window_ms >= 12 * DAY:
        return DAY
    if window_ms >= 12 * HOUR:
        return HOUR
    if window_ms >= 5 * MINUTE:
        return 5 * MINUTE
    return next((hop for hop in _SHORT if window_ms % hop == 0), SECOND)


def windows_of(aggregate: Aggregate) -> Iterator[tuple[str, int, int]]:
    """The windows of an aggregate: as written, length and hop in milliseconds. One over a lifetime is its own hop.

    >>> list(windows_of(Aggregate("count", None, ("1h",), "30m")))
    [('1h', 3600000, 1800000)]
    """
    for text in aggregate.over:
        if text == LIFETIME_TEXT:
            yield text, LIFETIME, LIFETIME
            continue
        window = parse_duration(text)
        yield text, window, hop_of(window) if aggregate.hop is None else parse_duration(aggregate.hop)


def features_of(label: str, aggregate: Aggregate, schema: Schema) -> Iterator[AggregateDef]:
    """The features of an aggregate of a checked group, window by window.

    >>> [each.name for each in features_of("price", Aggregate("top_k", "price", ("1h",), None, size=2), Schema((), "", ""))]
    ['price_1_1h', 'price_2_1h']
    """
    where = aggregate.where
    if where is not None:
        where, _ = typed(where, {field.name: field.type for field in schema.fields}, {})
    offset = 0 if aggregate.offset is None else parse_duration(aggregate.offset)
    for text, window, hop in windows_of(aggregate):
        for part, entry, q in aggregate.outputs():
            name = f"{label}{part}_{text}"
            yield AggregateDef(name, aggregate.kind, aggregate.column, window, hop, where, offset, aggregate.size, entry, q)


def scales_of(group: Features) -> dict[str, int]:
    """The decimal digits that sums keep of each summed column of a checked group; whole numbers have none."""
    schema = schema_of(group.source.event)
    columns = [each.column for each in group.aggregates.values() if each.column is not None and each.kind in SUMMED]
    return {column: schema[column].precision if schema[column].type is Type.FLOAT else 0 for column in columns}
