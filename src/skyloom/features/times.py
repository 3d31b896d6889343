"""The times that a group's aggregates name, taken together."""

from math import gcd

from skyloom.kernel.records.definitions import LIFETIME, AggregateDef, FeatureGroupDef

_TIMES = [name for name in AggregateDef.__struct_fields__ if name.endswith("_ms")]


def step_ms(group: FeatureGroupDef) -> int:
    """The longest time in ms that divides all the times that a group's aggregates name.

    >>> windows = AggregateDef("a", "count", None, 3_600_000, 300_000), AggregateDef("b", "count", None, 5_400_000, 200_000)
    >>> group = FeatureGroupDef("g", "s", ("k",), windows, {}, 60_000)
    >>> step_ms(group), keep_ms(group)
    (100000, 5660000)
    """
    return gcd(*(time for aggregate in group.aggregates for time in _times(aggregate))) or 1


def keep_ms(group: FeatureGroupDef) -> int | None:
    """For how long after an event, in ms, something of it can be asked for; ``None`` when there is no end to it."""
    if group.attributes or any(aggregate.window_ms == LIFETIME for aggregate in group.aggregates):
        return None
    return max(sum(_times(aggregate)) for aggregate in group.aggregates) + group.lateness_ms


def _times(aggregate: AggregateDef) -> list[int]:
    return [getattr(aggregate, name) or 0 for name in _TIMES]
