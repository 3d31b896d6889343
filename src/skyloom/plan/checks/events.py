"""Checks of event types."""

from collections.abc import Iterator

from skyloom.kernel.schema import Type
from skyloom.plan.checks.problem import NAMES, Problem
from skyloom.spec.event import Column, Event
from skyloom.spec.project import Project


def one_key(project: Project) -> Iterator[Problem]:
    """Each event has one key column, a text or a whole number, never null."""
    for event in _events(project):
        keys = _marked(event, "key")
        if len(keys) != 1:
            yield _count(event, keys, "key", "flight_id: str = sky.key()")
        elif keys[0].field.type not in NAMES or keys[0].field.nullable:
            yield Problem(_where(event, keys[0]), f"a key cannot be {_kind(keys[0])}", "make it str or int, without | None")


def one_time(project: Project) -> Iterator[Problem]:
    """Each event has one time column, a timestamp, never null."""
    for event in _events(project):
        times = _marked(event, "time")
        if len(times) != 1:
            yield _count(event, times, "time", "scheduled: sky.Timestamp = sky.time()")
        elif times[0].field.type is not Type.TIMESTAMP or times[0].field.nullable:
            yield Problem(
                _where(event, times[0]), f"a time cannot be {_kind(times[0])}", "make it sky.Timestamp, without | None"
            )


def names_by_more_than_case(project: Project) -> Iterator[Problem]:
    """Columns differ by more than upper and lower case: tables and SQL do not tell these apart."""
    for event in _events(project):
        seen: dict[str, str] = {}
        for column in event.__columns__:
            name = column.field.name
            twin = seen.setdefault(name.casefold(), name)
            if twin != name:
                yield Problem(event.__name__, f"columns {twin!r} and {name!r} differ only in case", "rename one of them")


def names_are_free(project: Project) -> Iterator[Problem]:
    """Columns that begin with an underscore are the store's own."""
    for event in _events(project):
        for column in event.__columns__:
            if column.field.name.startswith("_"):
                yield Problem(_where(event, column), "names that begin with _ are Skyloom's own", "rename the column")


def _events(project: Project) -> list[type[Event]]:
    return list(dict.fromkeys(source.event for source in project.sources.values()))


def _marked(event: type[Event], role: str) -> list[Column]:
    return [column for column in event.__columns__ if column.role == role]


def _where(event: type[Event], column: Column) -> str:
    return f"{event.__name__}.{column.field.name}"


def _kind(column: Column) -> str:
    return f"a {column.field.type}{' that may be missing' if column.field.nullable else ''}"


def _count(event: type[Event], found: list[Column], role: str, example: str) -> Problem:
    if not found:
        return Problem(event.__name__, f"it has no {role} column", f"mark one, as in  {example}")
    names = ", ".join(column.field.name for column in found)
    return Problem(event.__name__, f"it has several {role} columns: {names}", f"keep sky.{role}() on one of them")
