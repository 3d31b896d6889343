"""Sources: where events of one type come from."""

import msgspec

from skyloom.kernel.units import parse_duration
from skyloom.spec.event import Event


class Columns(msgspec.Struct, frozen=True, eq=False):
    """Some columns of a source, to be features of the model that answers its events."""

    source: "Source"
    names: tuple[str, ...]


class Source(msgspec.Struct, frozen=True, eq=False):
    """Where events of one type come from: a table (a file or folder, relative to the project) and, optionally, a stream.

    ``delay`` says how long after its time an imported row counts as known, for history that carries no arrival times.
    A source's name is the variable that holds it. Raises `DeclarationError` when ``delay`` is no duration.

    >>> import skyloom as sky
    >>> class Visit(sky.Event):
    ...     id: str = sky.key()
    ...     at: sky.Timestamp = sky.time()
    ...     page: str
    >>> visits = sky.Source(Visit, table="data/visits.parquet", delay="10m")
    >>> visits["id", "page"].names
    ('id', 'page')
    """

    event: type[Event]
    table: str | None = None
    stream: str | None = None
    delay: str | None = None

    def __post_init__(self) -> None:
        if self.delay is not None:
            parse_duration(self.delay)

    def __getitem__(self, names: str | tuple[str, ...]) -> Columns:
        return Columns(self, (names,) if isinstance(names, str) else names)
