"""What the words IN and OUT of `skyloom score` name."""

from pathlib import Path
from typing import NamedTuple

from skyloom.ingest.requests import DatabaseRequests, FileRequests, RequestSource, SnapshotRequests
from skyloom.ingest.tables import FORMATS
from skyloom.kernel.errors import UsageError
from skyloom.kernel.locations import SqlTable, sql_table, sql_target
from skyloom.ports.outlet import Outlet
from skyloom.runtime.ingesting import database_rows, placed
from skyloom.stores.outlet.files import ENDINGS, FileOutlet, FolderOutlet

_DELTA = "delta://"
_KINDS = "a Parquet, CSV, NDJSON or Arrow file, FOLDER/, delta://FOLDER or DATABASE-URL?table=NAME"


class From(NamedTuple):
    """Where requests come from; ``key`` tells the place from all others."""

    requests: RequestSource
    key: str


class To(NamedTuple):
    """Where answers go."""

    outlet: Outlet
    key: str


def source_of(text: str, directory: Path) -> From:
    """The requests at an address or path. A relative file of SQLite lies in the project's ``directory``.

    Raises `NotFound`, `DataError`, `UsageError`, `DeclarationError` for what names none.
    """
    path = Path(text.removeprefix(_DELTA))
    if text.startswith(_DELTA) or (path / "_delta_log").is_dir():
        from skyloom.stores.intake.delta import DeltaSnapshot

        return From(SnapshotRequests(DeltaSnapshot(path)), f"{_DELTA}{path.resolve()}")
    place = sql_table(text)
    if place is not None:
        place = placed(place, directory)
        return From(DatabaseRequests(place, database_rows(place, directory)), _told(place))
    return From(FileRequests(path), str(path.resolve()))


def target_of(text: str, directory: Path) -> To:
    """The outlet at an address or path. Raises `UsageError`, `DeclarationError` for what names none."""
    path = Path(text.removeprefix(_DELTA))
    if text.startswith(_DELTA) or (path / "_delta_log").is_dir():
        from skyloom.stores.outlet.delta import DeltaOutlet

        return To(DeltaOutlet(path), f"{_DELTA}{path.resolve()}")
    place = sql_target(text)
    if place is not None:
        if text.startswith("adbc+"):
            raise UsageError(f"{place.name}: ADBC is for reading", fix=f"write {text.removeprefix('adbc+')}")
        from skyloom.stores.outlet.sqlalchemy import SqlAlchemyOutlet

        place = placed(place, directory)
        return To(SqlAlchemyOutlet(place), _told(place))
    if text.endswith("/"):
        return To(FolderOutlet(path), str(path.resolve()))
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path} is neither {FORMATS}", tried=f"the ending {path.suffix!r}", fix=f"name {_KINDS}")
    return To(FileOutlet(path), str(path.resolve()))


def _told(place: SqlTable) -> str:
    words = [place.url, place.table or place.query or "", *place.cursor]
    return " ".join(words)


def apart(source: From, target: To) -> None:
    """Answers go elsewhere than where requests come from. Raises `UsageError`."""
    same = source.key == target.key
    within = isinstance(source.requests, FileRequests) and Path(source.key) in Path(target.key).parents
    if same or within:
        where = "is the table of the requests itself" if same else f"lies in {source.requests.name}, among the requests"
        raise UsageError(f"{target.outlet.name} {where}", fix="name another place for the predictions")
