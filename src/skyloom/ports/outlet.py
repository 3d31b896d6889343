"""An outlet: where a finished table goes that others will read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # processes that touch no table stay small
    import pyarrow as pa


class Finished(NamedTuple):
    """A table that is complete: ``run`` names the work that made it, ``notes`` says what it is, ``batches`` reads its
    ``rows`` rows, as often as it is called."""

    run: str
    schema: pa.Schema
    rows: int
    notes: dict[str, str]
    batches: Callable[[], Iterator[pa.RecordBatch]]


class Outlet(Protocol):
    """Promises: it holds the whole of one table or the whole of the one before, for every reader and after a crash at any
    moment; a table that is put there again is there once. What is held in memory does not grow with the table.
    """

    @property
    def name(self) -> str:
        """Where it is, without who asks."""
        ...

    def check(self, schema: pa.Schema) -> None:
        """See that a table of such columns can be put there, before it is made.

        Raises `Refused` where something else is there that must not be replaced, `UsageError`, `Transient`.
        """
        ...

    def put(self, table: Finished) -> None:
        """Let the table take the place of what is there. Raises as `check`."""
        ...
