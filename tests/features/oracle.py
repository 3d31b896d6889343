"""What features should be, said once more and slowly: all events looked at for every request, in exact arithmetic.

Shares no code with the kernel, the fold or the join. An event is a plain tuple; times are integer milliseconds.
"""

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import floor, sqrt
from typing import Any, NamedTuple

from tests.features import oracle_sketches

from skyloom.kernel.expr import Expression
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef


class Happened(NamedTuple):
    """One event as it stands in the log."""

    offset: int
    appended: int
    imported: bool
    at: int
    row: dict[str, Any]

    @property
    def effective(self) -> int:
        return self.at if self.at < self.appended else self.appended


def first_copies(events: list[Happened], key: str) -> list[Happened]:
    """Of the events with one key, the one with the least offset."""
    kept: dict[Any, Happened] = {}
    for event in events:
        held = kept.get(event.row[key])
        if held is None or event.offset < held.offset:
            kept[event.row[key]] = event
    return sorted(kept.values())


@lru_cache(maxsize=100_000)
def edge(t: int, window: int, hop: int) -> int:
    """The first moment of a window: the last multiple of ``hop`` that is not after ``t - window``."""
    return floor(Fraction(t - window, hop)) * hop


def belongs(event: Happened, group: FeatureGroupDef, entity: tuple[Any, ...]) -> bool:
    """Whether an event is of the entity that these values of the group's columns name."""
    return all(event.row[column] == value for column, value in zip(group.by, entity, strict=True))


def features(group: FeatureGroupDef, visible: list[Happened], entity: tuple[Any, ...], t: int) -> list[float | None]:
    """The group's features for one entity at ``t`` over the events that it may see."""
    mine = [] if None in entity else [event for event in visible if belongs(event, group, entity)]
    return [_feature(group, aggregate, mine, t) for aggregate in group.aggregates]


def _feature(group: FeatureGroupDef, aggregate: AggregateDef, mine: list[Happened], t: int) -> float | None:
    low = edge(t, aggregate.offset_ms + aggregate.window_ms, aggregate.hop_ms)
    inside = [event for event in mine if event.effective >= low and holds(aggregate.where, event.row) is True]
    if aggregate.offset_ms:
        high = edge(t, aggregate.offset_ms, aggregate.hop_ms)
        inside = [event for event in inside if event.effective < high]
    if aggregate.column is None:
        return float(len(inside))
    there = [event for event in inside if event.row.get(aggregate.column) is not None]
    values = [event.row[aggregate.column] for event in there]
    if aggregate.kind == "count":
        return float(len(values))
    if aggregate.kind == "distinct":
        return oracle_sketches.distinct(values, aggregate.size)
    if aggregate.kind in ("first", "last", "first_k", "last_k", "top_k"):
        return _entry(aggregate, there)
    if not values:
        return None
    if aggregate.kind in ("min", "max"):
        return float(sorted(values)[0 if aggregate.kind == "min" else -1])
    if aggregate.kind == "quantile":
        return oracle_sketches.quantile([float(value) for value in values], aggregate.q, aggregate.size)
    return _moment(aggregate.kind, [quantised(value, group.scales[aggregate.column]) for value in values], group, aggregate)


def _moment(kind: str, scaled: list[int], group: FeatureGroupDef, aggregate: AggregateDef) -> float | None:
    """A sum, a mean or a spread of scaled values; the spread from its definition, in fractions."""
    unit = 10 ** group.scales[str(aggregate.column)]
    if kind in ("sum", "mean"):
        return float(sum(scaled)) / float((len(scaled) if kind == "mean" else 1) * unit)
    if len(scaled) < 2:
        return None
    middle = Fraction(sum(scaled), len(scaled))
    spread = float(sum((value - middle) ** 2 for value in scaled) / (len(scaled) - 1) / unit**2)
    return sqrt(spread) if kind == "stddev" else spread


def _entry(aggregate: AggregateDef, there: list[Happened]) -> float | None:
    """The value that stands at a place of a list; a first or last one is a list of one."""
    column = str(aggregate.column)
    in_time = sorted(there, key=lambda event: (event.effective, event.offset))
    by_value = sorted(in_time, key=lambda event: float(event.row[column]), reverse=True)
    lists = {"first": in_time, "last": in_time[::-1], "top": by_value}
    listed = lists[aggregate.kind.removesuffix("_k")]
    place = max(aggregate.entry - 1, 0)
    return float(listed[place].row[column]) if place < len(listed) else None


def holds(condition: Expression | None, row: dict[str, Any]) -> Any:
    """What a condition is of a row: true, false or unknown. Only the few operations that the histories use."""
    if condition is None:
        return True
    if condition.op == "col":
        return row[condition.value]
    if condition.op == "lit":
        return condition.value
    left, *right = [holds(arg, row) for arg in condition.args]
    if condition.op == "is_null":
        return left is None
    return None if left is None or right[0] is None else {">": left > right[0], "==": left == right[0]}[condition.op]


def quantised(value: float | int, digits: int) -> int:
    """The value in units of its last kept digit, ties to even; the product is a binary64 for floats."""
    if isinstance(value, int):
        return value * 10**digits
    return int(Decimal(value * float(10**digits)).to_integral_value("ROUND_HALF_EVEN"))


def refused(group: FeatureGroupDef, folded: list[Happened], entity: tuple[Any, ...], t: int) -> bool:
    """Whether the online store must refuse a request at ``t``, as it let go what a window reaches for.

    A level keeps, behind its newest step, its longest window, the lateness and one step more.
    """
    times = [event.effective for event in folded if None not in entity and belongs(event, group, entity)]
    for hop in {aggregate.hop_ms for aggregate in group.aggregates}:
        windows = [a.offset_ms + a.window_ms for a in group.aggregates if a.hop_ms == hop]
        starts = [edge(at, 0, hop) for at in times]
        kept = edge(max(starts), max(windows) + group.lateness_ms + hop, hop) if starts else 0
        gone = [start for start in starts if start < kept]
        if gone and any(edge(t, window, hop) < max(gone) + hop for window in windows):
            return True
    return False
