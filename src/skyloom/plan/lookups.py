"""Lookups: which rows of entity tables a model's requests are given, under which names."""

from typing import Any

from skyloom.kernel.expr import Expression, Term
from skyloom.kernel.records.definitions import FeatureGroupDef, LookupDef
from skyloom.kernel.schema import Field, Schema
from skyloom.spec.event import schema_of
from skyloom.spec.model import Model
from skyloom.spec.project import Project
from skyloom.spec.table import Row, Table


def table_name(table: Table, project: Project) -> str:
    """The variable that holds a table."""
    return next(name for name, known in project.tables.items() if known is table)


def row_name(row: Row, project: Project) -> str:
    """What a row is called: as its table, when the request's columns of the same names are its key; else by the way to it,
    such as ``cards.customer.customers``."""
    keys = [column_name(key, project) for key in row.keys]
    name = table_name(row.table, project)
    return name if tuple(keys) == row.table.by else ".".join([*keys, name])


def column_name(key: Term, project: Project) -> str:
    """The column of the request, lookups included, that a key is."""
    return str(named(key.expression, key, project).value)


def named(column: Expression, term: Term, project: Project) -> Expression:
    """A column of a row, with the row's name in place of the declaration."""
    token, dot, name = str(column.value).partition(".")
    if not dot or token not in term.groups:
        return column
    return Expression("col", value=f"{row_name(term.groups[token], project)}.{name}")


def attributes_of(table: Table) -> tuple[str, ...]:
    """What a table keeps of its rows: every column but the event's own key and time, and what names the entity."""
    schema = schema_of(table.source.event)
    return tuple(name for name in schema.names if name not in (schema.key, schema.time, *table.by))


def lookups_of(model: Model[Any, Any], project: Project) -> tuple[LookupDef, ...]:
    """The lookups of a model, each after those that hold its keys."""
    found: dict[str, LookupDef] = {}
    for row in model.rows:
        name = row_name(row, project)
        entity = tuple(column_name(key, project) for key in row.keys)
        found.setdefault(name, LookupDef(name, table_name(row.table, project), entity))
    return tuple(found.values())


def request_schema(model: Model[Any, Any], project: Project) -> Schema:
    """The columns of a model's requests, and those that lookups add."""
    schema = schema_of(model.requests.event)
    fields = {field.name: field for field in schema.fields}
    for row in model.rows:
        there = schema_of(row.table.source.event)
        for name in attributes_of(row.table):
            full = f"{row_name(row, project)}.{name}"
            fields.setdefault(full, Field(full, there[name].type, nullable=True, precision=there[name].precision))
    return Schema(tuple(fields.values()), schema.key, schema.time)


def compile_table(name: str, table: Table, source: str) -> FeatureGroupDef:
    """The definition of a table."""
    return FeatureGroupDef(name, source, table.by, (), {}, 0, attributes=attributes_of(table))
