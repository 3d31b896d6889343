"""Sources: where events of one type come from."""

import msgspec

from skyloom.kernel.locations import kafka_topic, sql_location, sql_table
from skyloom.kernel.units import parse_duration
from skyloom.spec.event import Event


class Columns(msgspec.Struct, frozen=True, eq=False):
    """Some columns of a source, to be features of the model that answers its events."""

    source: "Source"
    names: tuple[str, ...]


def sql(url: str, *, table: str | None = None, query: str | None = None, cursor: str | tuple[str, ...]) -> str:
    """A table, or the rows of a query, of a database, to be a source's ``table``: `skyloom ingest` brings what is new.

    ``url`` is SQLAlchemy's (``postgresql://...``, with the extra ``sql`` and the database's driver installed), or names an
    ADBC driver (``adbc+postgresql://...``). ``cursor`` are one or more columns that grow with each row: a serial number, a
    time of change. Rows where it is null are not seen before it is set. A secret is named, never written:
    ``${NAME}`` is a variable of the environment, read when rows are. Raises `DeclarationError`.

    >>> sql("postgresql://app:${PGPASSWORD}@db/shop", table="payments", cursor="updated_at")
    'postgresql://app:${PGPASSWORD}@db/shop?table=payments&cursor=updated_at'
    >>> sql("postgresql://app:hunter2@db/shop", table="payments", cursor="id")
    Traceback (most recent call last):
    ...
    skyloom.kernel.errors.DeclarationError: the address postgresql://.../shop holds a secret: the password
      next:  name a variable of the environment instead: ${NAME}
    """
    location = sql_location(url, table=table, query=query, cursor=cursor)
    sql_table(location)
    return location


class Source(msgspec.Struct, frozen=True, eq=False):
    """Where events of one type come from: a table and, optionally, a stream.

    ``table`` is a file or folder, relative to the project, or a table of a database (`skyloom.sql`). ``stream`` is a name,
    under which events are sent to ``POST /events/NAME-OF-THE-SOURCE``, or a topic of a broker, whose messages are events in
    JSON: ``kafka://HOST:PORT/TOPIC?group=NAME``, and settings of librdkafka such as ``&security.protocol=SASL_SSL``.
    ``delay`` says how long after its time an imported row counts as known, for history that carries no arrival times.
    A source's name is the variable that holds it. Raises `DeclarationError` when ``delay`` is no
    duration, and for an address that is none or holds a secret.

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
        if self.table is not None:
            sql_table(self.table)
        if self.stream is not None:
            kafka_topic(self.stream)
        if self.delay is not None:
            parse_duration(self.delay)

    def __getitem__(self, names: str | tuple[str, ...]) -> Columns:
        return Columns(self, (names,) if isinstance(names, str) else names)
