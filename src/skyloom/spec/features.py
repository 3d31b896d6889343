"""Features: values of an entity at a moment, declared once, computed the same in batch, stream and serving."""

from collections.abc import Sequence
from dataclasses import dataclass

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Term, part
from skyloom.kernel.units import parse_duration
from skyloom.spec.aggregate import Aggregate
from skyloom.spec.source import Columns, Source


@dataclass(frozen=True, eq=False, init=False)
class Features:
    """Windowed aggregates of the events of ``source``, for each entity: a value of its column ``by``, or of several
    columns together, such as ``by=("carrier", "dest")``. An event that lacks one of them belongs to no entity.

    Events that come later than ``lateness`` after their time are still counted for as long as a window holds them, plus
    that bound. The group's name is the variable that holds it; a feature's name in X is ``{group}_{aggregate}_{window}``.
    Raises `DeclarationError` when nothing is aggregated, when ``by`` names no column or one twice, and when ``lateness`` is
    no duration.

    >>> import skyloom as sky
    >>> class Visit(sky.Event):
    ...     id: str = sky.key()
    ...     at: sky.Timestamp = sky.time()
    ...     page: str
    >>> visits = sky.Source(Visit)
    >>> list(sky.Features(visits, by="page", visits=sky.count(over=["1h"])).aggregates)
    ['visits']
    >>> sky.Features(visits, by=("page", "id"), visits=sky.count(over=["1h"])).by
    ('page', 'id')
    """

    source: Source
    by: tuple[str, ...]
    lateness: str
    aggregates: dict[str, Aggregate]

    def __init__(self, source: Source, *, by: str | Sequence[str], lateness: str = "1d", **aggregates: Aggregate) -> None:
        columns = (by,) if isinstance(by, str) else tuple(by)
        if not columns or len(set(columns)) < len(columns):
            raise DeclarationError(f"by={by!r} names no entity", fix="give one column, or several different ones")
        if not aggregates:
            raise DeclarationError(
                f"features by {by!r} aggregate nothing", fix='add one, such as visits=sky.count(over=["1h"])'
            )
        for name, aggregate in aggregates.items():
            if not isinstance(aggregate, Aggregate):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DeclarationError(
                    f"{name}={aggregate!r} is no aggregate", fix="write sky.count, sky.sum, sky.mean, sky.min or sky.max"
                )
        parse_duration(lateness)
        for name, value in (("source", source), ("by", columns), ("lateness", lateness), ("aggregates", aggregates)):
            object.__setattr__(self, name, value)


Feature = Columns | Term | Features
"""What may stand in a model's ``features``: columns of the request, a part of one of its times, windowed features."""


def hour(column: str, tz: str = "UTC") -> Term:
    """The hour, 0 to 23, of a time column in the time zone ``tz``; its name in X is ``{column}_hour``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(hour("at", tz="America/New_York").expression, {"at": 0})
    19
    """
    return part("hour", column, tz)


def weekday(column: str, tz: str = "UTC") -> Term:
    """The day of the week, Monday 0 to Sunday 6, of a time column in ``tz``; its name in X is ``{column}_weekday``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(weekday("at").expression, {"at": 0})
    3
    """
    return part("weekday", column, tz)
