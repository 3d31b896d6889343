"""`skyloom ingest`: a table's rows brought in and settled."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from skyloom.ingest.imports import Imported, import_file
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import NotFound, Transient, UsageError
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.platform import Platform
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied


def ingest(
    platform: Platform, name: str, path: Path | None = None, *, on_rows: Callable[[int], None] | None = None
) -> Imported:
    """Bring the rows of ``path`` (by default the source's declared table) into the source ``name``.

    When it returns, the rows are in the lake and folded into the features. Raises `NotFound` for an unknown source,
    `UsageError` when there is no table to read, `DataError` for a file that breaks the contract as a whole, `Transient`
    when nothing can be written now.
    """
    project = applied(platform.metadata).project
    source = _source(project.sources, name)
    where = path or (platform.directory / source.table if source.table else None)
    if where is None:
        raise UsageError(f"{name} declares no table", fix=f"skyloom ingest {name} FILE")
    imported = import_file(
        source, where, log=platform.log, lake=platform.lake, now_ms=platform.clock.now_ms(), on_rows=on_rows
    )
    try:
        settle(platform, project)
    except Transient as error:
        raise _taken(imported, error) from error
    return msgspec.structs.replace(imported, repeated=_repeated(platform, imported))


def _repeated(platform: Platform, imported: Imported) -> int:
    """How many of the rows that were appended had a key that was there already: those the lake does not have."""
    if not imported.accepted:
        return 0
    within: list[tuple[str, str, object]] = [("_offset", ">=", imported.start), ("_offset", "<", imported.end)]
    fresh = platform.lake.read(events_topic(imported.source), columns=["_offset"], where=within)
    return imported.accepted - len(fresh)


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
