"""The two questions that are asked of a database, as SQL that all of them speak."""

from collections.abc import Callable, Sequence

from skyloom.kernel.locations import SqlTable


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
    names = [quote(name) for name in cursor]
    conditions = [f"{name} IS NOT NULL" for name in names]
    used: list[int] = []
    if since:
        conditions.append(_at_or_after(names, 0, parameter, used))
    chosen = ", ".join(quote(name) for name in columns)
    where = " AND ".join(conditions)
    return f"SELECT {chosen} FROM {_relation(place, quote)} WHERE {where} ORDER BY {', '.join(names)}", used


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
        return ".".join(quote(part) for part in place.table.split("."))
    return f"({(place.query or '').strip().rstrip(';')}) rows_of_it"
