"""The questions that are asked of a database, as SQL that all of them speak."""

import re
from collections.abc import Callable, Sequence
from datetime import date

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.locations import SqlTable

_PART = r'(?:"(?:[^"]|"")+"|[^".]+)'
_TABLE = re.compile(rf"{_PART}(?:\.{_PART})*")


def everything(place: SqlTable, quote: Callable[[str], str]) -> str:
    """A select of no row, which tells the columns."""
    return f"SELECT * FROM {_relation(place, quote)} WHERE 1 = 0"


def ascending(
    place: SqlTable,
    columns: Sequence[str],
    cursor: Sequence[str],
    quote: Callable[[str], str],
    parameter: Callable[[int], str],
    *,
    since: bool,
) -> tuple[str, list[int]]:
    """A select of rows in the order of ``cursor``, at or after its values where ``since``, and which value of the cursor
    each parameter of it takes, in order.

    >>> place = SqlTable("sqlite:///a.db", "paid", None, ("at", "id"))
    >>> ascending(place, ["id"], place.cursor, str, lambda n: f":c{n}", since=True)[0].partition("AND (")[2]
    'at > :c0 OR (at = :c0 AND (id >= :c1))) ORDER BY at, id'
    """
    conditions, used = _conditions(cursor, quote, parameter, since=since)
    chosen = ", ".join(quote(name) for name in columns)
    order = ", ".join(quote(name) for name in cursor)
    return f"SELECT {chosen} FROM {_relation(place, quote)} WHERE {conditions} ORDER BY {order}", used


def counted(
    place: SqlTable, cursor: Sequence[str], quote: Callable[[str], str], parameter: Callable[[int], str], *, since: bool
) -> tuple[str, list[int]]:
    """A select of two numbers, of all rows and of those that `ascending` selects, and what its parameters take.

    >>> counted(SqlTable("sqlite:///a.db", "paid", None, ("id",)), ["id"], str, lambda n: f":c{n}", since=False)[0]
    'SELECT COUNT(*), COUNT(CASE WHEN id IS NOT NULL THEN 1 END) FROM paid'
    """
    conditions, used = _conditions(cursor, quote, parameter, since=since)
    return f"SELECT COUNT(*), COUNT(CASE WHEN {conditions} THEN 1 END) FROM {_relation(place, quote)}", used


def _conditions(
    cursor: Sequence[str], quote: Callable[[str], str], parameter: Callable[[int], str], *, since: bool
) -> tuple[str, list[int]]:
    names = [quote(name) for name in cursor]
    conditions = [f"{name} IS NOT NULL" for name in names]
    used: list[int] = []
    if since:
        conditions.append(_at_or_after(names, 0, parameter, used))
    return " AND ".join(conditions), used


def as_text(value: object) -> str:
    """A value of a cursor as PostgreSQL reads it. Given as a text it takes the type of its column, so that it equals what
    it was read from: a ``real`` of 0.1 is not the ``double precision`` of 0.1.

    >>> from datetime import datetime
    >>> as_text(datetime(2013, 4, 1, 7)), as_text(0.1)
    ('2013-04-01T07:00:00', '0.1')
    """
    return value.isoformat() if isinstance(value, date) else str(value)


def _at_or_after(names: list[str], at: int, parameter: Callable[[int], str], used: list[int]) -> str:
    name = names[at]
    used.append(at)
    if at == len(names) - 1:
        return f"({name} >= {parameter(at)})"
    used.append(at)
    after = f"{name} > {parameter(at)}"
    return f"({after} OR ({name} = {parameter(at)} AND {_at_or_after(names, at + 1, parameter, used)}))"


def _relation(place: SqlTable, quote: Callable[[str], str]) -> str:
    if place.table is not None:
        return ".".join(quote(part) for part in parts_of(place.table))
    # On lines of its own: it may end in a comment.
    return f"(\n{(place.query or '').strip().rstrip(';')}\n) rows_of_it"


def parts_of(table: str) -> list[str]:
    """The names that a table is named by, its schema's first. One that holds a dot stands in quotes, as in SQL.

    Raises `DeclarationError` for what is no name.

    >>> parts_of('shop."Order.2024"')
    ['shop', 'Order.2024']
    """
    if not _TABLE.fullmatch(table):
        raise DeclarationError(f"table={table!r} is no name of a table", fix='write NAME, SCHEMA.NAME or SCHEMA."NA.ME"')
    found: list[str] = re.findall(_PART, table)
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in found]
