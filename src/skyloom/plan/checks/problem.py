"""What a check says."""

from collections.abc import Callable, Iterator

import msgspec

from skyloom.kernel.schema import Schema, Type
from skyloom.plan.wording import did_you_mean
from skyloom.spec.project import Project

NUMBERS = (Type.FLOAT, Type.INT, Type.BOOL)
NAMES = (Type.STRING, Type.INT)
"""The types that a key or an entity can have."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that cannot be: where it was declared, what is wrong with it, what to do."""

    where: str
    what: str
    fix: str


Check = Callable[[Project], Iterator[Problem]]


def unknown_column(where: str, column: str, schema: Schema) -> Problem:
    """There is no such column; the nearest ones are."""
    return Problem(where, f"there is no column {column!r}", did_you_mean(column, list(schema.names)))
