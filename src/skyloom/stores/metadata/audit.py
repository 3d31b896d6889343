"""The audit log in SQLite: a chain of lines, and its head beside it."""

from typing import TYPE_CHECKING, Any

from skyloom.kernel.ids import content_id
from skyloom.ports.metadata import Change

if TYPE_CHECKING:
    import apsw

CHANGE_COLUMNS = "number, at_ms, actor, action, kind, id, version, body, link"
START = "0" * 64


def link_of(previous: str, content: tuple[Any, ...]) -> str:
    """The link of a line: SHA-256 of the canonical JSON of the previous line's link and of its own content.

    ``content`` is number, at_ms, actor, action, kind, id, version, body.
    """
    return content_id([previous, *content])


def record(row: tuple[Any, ...]) -> Change:
    """The line in a row of ``CHANGE_COLUMNS``."""
    return Change(*row)


def add(connection: "apsw.Connection", content: tuple[Any, ...]) -> None:
    """Append a line (its content without the number) and move the head, inside the caller's transaction."""
    last, previous = head(connection)
    line = (last + 1, *content)
    link = link_of(previous, line)
    connection.execute(f"INSERT INTO change ({CHANGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*line, link))
    connection.execute("UPDATE head SET number = ?, link = ?", (last + 1, link))


def head(connection: "apsw.Connection") -> tuple[int, str]:
    """The number and the link of the last line, as kept beside the log."""
    for number, link in connection.execute("SELECT number, link FROM head"):
        return number, link
    return 0, START


def verify(connection: "apsw.Connection") -> int | None:
    """The number of the first line that does not hold, or ``None``. Reads line by line."""
    last, previous = 0, START
    for row in connection.execute(f"SELECT {CHANGE_COLUMNS} FROM change ORDER BY number"):
        number, link = row[0], row[-1]
        if number != last + 1 or link != link_of(previous, row[:-1]):
            return last + 1
        last, previous = number, link
    return None if head(connection) == (last, previous) else last + 1
