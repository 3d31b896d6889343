"""Checks of entity tables and of the ways to their rows."""

from collections.abc import Iterator

from skyloom.plan.checks.problem import NAMES, Problem, unknown_column
from skyloom.plan.lookups import attributes_of, column_name, request_schema, table_name
from skyloom.plan.wording import did_you_mean
from skyloom.spec.event import schema_of
from skyloom.spec.project import Project


def entities_are_names(project: Project) -> Iterator[Problem]:
    """The columns that name a row's entity are there, and are texts or whole numbers."""
    for name, table in project.tables.items():
        schema = schema_of(table.source.event)
        for column in table.by:
            if column not in schema:
                yield unknown_column(name, column, schema)
            elif schema[column].type not in NAMES:
                yield Problem(name, f"by={column!r} is a {schema[column].type}", "take a column of str or int")


def tables_have_columns(project: Project) -> Iterator[Problem]:
    """A table keeps something of its rows."""
    for name, table in project.tables.items():
        if not attributes_of(table):
            yield Problem(name, "its rows hold nothing but their key and their time", "give its event another column")


def rows_are_found(project: Project) -> Iterator[Problem]:
    """What names a row is a column of the request, or of a row before, of the type of the table's own."""
    for name, model in project.models.items():
        schema = request_schema(model, project)
        for row in model.rows:
            there, where = schema_of(row.table.source.event), f"{name}, {table_name(row.table, project)}"
            for by, key in zip(row.table.by, row.keys, strict=True):
                column = column_name(key, project)
                if by not in there:
                    continue  # the table's own check says so
                if column not in schema:
                    what = f"its requests have no column {column!r} to look a row up by"
                    yield Problem(where, what, f"{did_you_mean(column, list(schema.names))}, or say .of(...)")
                elif schema[column].type is not there[by].type:
                    what = f"{column!r} is a {schema[column].type}, and {by!r} in the table's rows a {there[by].type}"
                    yield Problem(where, what, "give both columns one type")
