"""`skyloom ingest`: the rows of files or of a database brought in and settled."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from skyloom.ingest.imports import Imported, import_file
from skyloom.ingest.sink import events_topic
from skyloom.ingest.sql import Rows, import_sql
from skyloom.ingest.tables import count_rows
from skyloom.kernel.errors import NotFound, Transient, UsageError
from skyloom.kernel.ids import nearest
from skyloom.kernel.locations import SqlTable, sql_table
from skyloom.kernel.records.definitions import SourceDef
from skyloom.platform import Platform
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import actor, applied


def ingest(
    platform: Platform, name: str, path: Path | None = None, *, on_rows: Callable[[int], None] | None = None
) -> Imported:
    """Bring the rows of ``path`` (by default the source's declared table) into the source ``name``.

    Of a table of a database, and of files that came before, only what is new. When it returns, the rows are in the lake
    and folded into the features. Raises `NotFound` for an unknown source, `UsageError` when there is no table to read,
    `DataError` for a file that breaks the contract as a whole, `Transient` when nothing can be written now.
    """
    project = applied(platform.metadata).project
    source = _source(project.sources, name)
    if path is None and source.table is None:
        raise UsageError(f"{name} declares no table", fix=f"skyloom ingest {name} FILE")
    place = sql_table(source.table) if path is None and source.table else None
    if place is not None:
        imported = _from_database(platform, source, place, on_rows)
    else:
        where = path or platform.directory / (source.table or "")
        imported = import_file(
            source,
            where,
            log=platform.log,
            metadata=platform.metadata,
            actor=actor(),
            now_ms=platform.clock.now_ms(),
            on_rows=on_rows,
        )
    try:
        settle(platform, project)
    except Transient as error:
        raise _taken(imported, error) from error
    return msgspec.structs.replace(imported, repeated=_repeated(platform, imported))


def expected(platform: Platform, name: str, path: Path | None = None) -> int:
    """About how many rows `ingest` will read, to show progress; 0 where that is not known before."""
    source = applied(platform.metadata).project.sources.get(name)
    if path is None and (source is None or source.table is None or "://" in source.table):
        return 0
    where = path or platform.directory / (source.table or "" if source else "")
    return count_rows(where) if where.exists() else 0


def _from_database(
    platform: Platform, source: SourceDef, place: SqlTable, on_rows: Callable[[int], None] | None
) -> Imported:
    rows = database_rows(place, platform.directory)
    try:
        return import_sql(
            source,
            place,
            rows,
            log=platform.log,
            metadata=platform.metadata,
            actor=actor(),
            now_ms=platform.clock.now_ms,
            on_rows=on_rows,
        )
    finally:
        rows.close()


def database_rows(place: SqlTable, directory: Path) -> Rows:
    """A reader of a table: ADBC for ``adbc+NAME://``, SQLAlchemy for all else. A relative file of SQLite lies in the
    project's ``directory``."""
    place = placed(place, directory)
    if place.url.startswith("adbc+"):
        from skyloom.stores.intake.adbc import AdbcRows

        return AdbcRows(place)
    from skyloom.stores.intake.sqlalchemy import SqlAlchemyRows

    return SqlAlchemyRows(place)


def placed(place: SqlTable, directory: Path) -> SqlTable:
    """The same place, with a relative file of SQLite in the project's ``directory``.

    >>> placed(SqlTable("sqlite:///shop.db", "paid", None, ()), Path("/shop")).url
    'sqlite:////shop/shop.db'
    """
    url, mark, options = place.url.partition("?")
    kind, found, file = url.partition(":///")
    if found and kind.removeprefix("adbc+").startswith("sqlite") and not Path(file).is_absolute() and file:
        return place._replace(url=f"{kind}:///{directory / file}{mark}{options}")
    return place


def _repeated(platform: Platform, imported: Imported) -> int:
    """How many of the rows that were appended had a key that was there already: those the lake does not have."""
    if not imported.spans:
        return 0
    many = imported.partitions
    starts, ends = np.zeros(many, np.int64), np.zeros(many, np.int64)
    for span in imported.spans:
        starts[span.partition], ends[span.partition] = span.start, span.end
    within: list[tuple[str, str, object]] = [
        ("_offset", ">=", min(span.start for span in imported.spans) * many),
        ("_offset", "<", max(span.end for span in imported.spans) * many),
        ("_imported", "=", True),
    ]
    offsets = platform.lake.read(events_topic(imported.source), columns=["_offset"], where=within)["_offset"].to_numpy()
    in_log, partition = offsets // many, offsets % many
    fresh = np.count_nonzero((in_log >= starts[partition]) & (in_log < ends[partition]))
    return max(0, imported.accepted - int(fresh))


def _taken(imported: Imported, error: Transient) -> Transient:
    return Transient(
        f"{imported.accepted:,} rows of {imported.source} are in the log, but not all are in the lake yet: {error.what}",
        tried=error.tried,
        fix=f"{error.fix}: the next skyloom ingest, or skyloom up, takes them from the log",
    )


def _source(sources: dict[str, SourceDef], name: str) -> SourceDef:
    if name in sources:
        return sources[name]
    near = nearest(name, list(sources)) or list(sources)
    raise NotFound(f"there is no source {name!r}", tried=", ".join(sources), fix=f"did you mean {' or '.join(near)}?")
