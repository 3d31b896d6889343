"""Checks of windowed features."""

from collections import Counter
from collections.abc import Iterator

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Expression, columns_of, type_of
from skyloom.kernel.schema import Schema, Type
from skyloom.kernel.units import format_duration
from skyloom.plan.checks.problem import NAMES, NUMBERS, Problem, unknown_column
from skyloom.plan.windows import windows_of
from skyloom.spec.aggregate import Aggregate
from skyloom.spec.event import schema_of
from skyloom.spec.features import Features
from skyloom.spec.project import Project

ORDERED = (*NUMBERS, Type.TIMESTAMP)
_COUNTED = ("count", "distinct")
_PUT_IN_ORDER = ("first", "last", "first_k", "last_k", "top_k")


def columns_exist(project: Project) -> Iterator[Problem]:
    """Entities and aggregated columns are columns of the source."""
    for name, group in project.groups.items():
        schema = schema_of(group.source.event)
        for column in group.by:
            if column not in schema:
                yield unknown_column(name, column, schema)
        for where, _, aggregate in _aggregates(name, group):
            if aggregate.column is not None and aggregate.column not in schema:
                yield unknown_column(where, aggregate.column, schema)


def entities_are_names(project: Project) -> Iterator[Problem]:
    """The entity's columns are texts or whole numbers."""
    for name, group in project.groups.items():
        schema = schema_of(group.source.event)
        for column in group.by:
            if column in schema and schema[column].type not in NAMES:
                yield Problem(name, f"by={column!r} is a {schema[column].type}", "take a column of str or int")


def aggregates_of_numbers(project: Project) -> Iterator[Problem]:
    """Whatever is not counted is a number; what is only put in order may be a time."""
    for name, group in project.groups.items():
        schema = schema_of(group.source.event)
        for where, _, aggregate in _aggregates(name, group):
            column = aggregate.column
            if aggregate.kind in _COUNTED or column is None or column not in schema:
                continue
            kinds, called = (ORDERED, "numbers or times") if aggregate.kind in _PUT_IN_ORDER else (NUMBERS, "numbers")
            if schema[column].type not in kinds:
                what = f"{aggregate.kind} needs {called}, and {column!r} is a {schema[column].type}"
                yield Problem(where, what, _instead(aggregate, column, group))


def _instead(aggregate: Aggregate, column: str, group: Features) -> str:
    if aggregate.kind == "last":
        by = group.by[0] if len(group.by) == 1 else group.by
        return f"for the newest row, whatever its types, declare sky.Table(SOURCE, by={by!r}) and take its [{column!r}]"
    return "take a column of float, int or bool, or sky.count"


def conditions_hold_or_not(project: Project) -> Iterator[Problem]:
    """What stands in ``where`` is true or false of an event."""
    for name, group in project.groups.items():
        schema = schema_of(group.source.event)
        for where, _, aggregate in _aggregates(name, group):
            if aggregate.where is None:
                continue
            unknown = sorted(column for column in columns_of(aggregate.where) if column not in schema)
            yield from (unknown_column(where, column, schema) for column in unknown)
            if not unknown:
                yield from _condition(where, aggregate.where, schema)


def _condition(where: str, condition: Expression, schema: Schema) -> Iterator[Problem]:
    fix = 'compare, as in where=sky.col("amount") > 100'
    try:
        kind = type_of(condition, schema)
    except DeclarationError as error:
        yield Problem(where, f"where: {error.what}", fix)
        return
    if kind is not Type.BOOL:
        yield Problem(where, f"where is a {kind}, and not true or false", fix)


def windows_of_whole_hops(project: Project) -> Iterator[Problem]:
    """A window is a multiple of its hop."""
    for name, group in project.groups.items():
        for where, _, aggregate in _aggregates(name, group):
            for text, window, hop in windows_of(aggregate):
                if window % hop:
                    what = f"the window {text} is no multiple of its hop {format_duration(hop)}"
                    yield Problem(where, what, f'say over=["{format_duration(-(-window // hop) * hop)}"], or another hop=')


def windows_once(project: Project) -> Iterator[Problem]:
    """No two windowed features of a group have one name."""
    for name, group in project.groups.items():
        names = Counter(each for _, label, aggregate in _aggregates(name, group) for each in aggregate.names(label))
        for twice, times in names.items():
            if times > 1:
                yield Problem(name, f"{times} features are called {name}_{twice}", "give each window once")


def _aggregates(name: str, group: Features) -> Iterator[tuple[str, str, Aggregate]]:
    for label, aggregate in group.aggregates.items():
        yield f"{name}.{label}", label, aggregate
