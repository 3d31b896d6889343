"""What a body asks: rows of the model's schema, and how they were written down."""

from typing import NamedTuple

from skyloom.ingest.limits import MAX_REQUEST_ROWS
from skyloom.ingest.rows import Value
from skyloom.serving.wire import Problem


class Asked(NamedTuple):
    """``rows`` of typed values, in the schema's order; ``form`` is the word that held them (``instances``, ``inputs``,
    ``row`` for one object alone ...), ``outputs`` the names of what is wanted for each, ``None`` where nothing was said."""

    rows: list[tuple[Value, ...]]
    form: str
    outputs: tuple[str, ...] | None = None


def check_count(rows: int) -> None:
    """Raises `Problem` with 413 for more rows than one request may bring."""
    if rows > MAX_REQUEST_ROWS:
        raise Problem(413, f"the body holds more than {MAX_REQUEST_ROWS:,} rows")
