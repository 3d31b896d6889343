"""Checks of logbooks: what they leave out of receipts."""

from collections.abc import Iterator

from skyloom.kernel.schema import Type
from skyloom.plan.checks.problem import Problem, unknown_column
from skyloom.spec.event import schema_of
from skyloom.spec.project import Project


def columns_exist(project: Project) -> Iterator[Problem]:
    """Columns that are left out are columns of the model's requests."""
    for name, model in project.models.items():
        schema = schema_of(model.requests.event)
        for column in (*model.logbook.redact, *model.logbook.hashed):
            if column not in schema.names:
                yield unknown_column(name, column, schema)


def key_and_time_are_kept(project: Project) -> Iterator[Problem]:
    """Without its key a prediction meets no label, and without its time nobody knows what it saw."""
    for name, model in project.models.items():
        schema = schema_of(model.requests.event)
        for column in (*model.logbook.redact, *model.logbook.hashed):
            if column in (schema.key, schema.time):
                what = "key" if column == schema.key else "time"
                fix = "keep it" if what == "time" else "keep it, and let callers send a key that tells nothing"
                yield Problem(name, f"{column} is the {what} of its requests: a logbook cannot leave it out", fix)


def hashes_are_of_texts(project: Project) -> Iterator[Problem]:
    """A hash is a text: it can stand for texts alone."""
    for name, model in project.models.items():
        types = {field.name: field.type for field in schema_of(model.requests.event).fields}
        for column in model.logbook.hashed:
            if types.get(column, Type.STRING) is not Type.STRING:
                yield Problem(name, f"{column} is a {types[column]}: only texts are hashed", f"redact=[{column!r}] instead")
