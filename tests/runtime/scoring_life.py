"""A run of `skyloom score` in a process of its own, which ends it by SIGKILL at a write point of its own choosing."""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from skyloom.testing.faults import preload

preload(
    "apsw",
    "deltalake",
    "onnxruntime",
    "pandas",
    "pyarrow.csv",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "pyarrow.pandas_compat",
    "skyloom.platform",
    "skyloom.runtime.scoring",
    "skyloom.stores.lake.delta",
    "skyloom.stores.log.lmdb",
    "skyloom.stores.metadata.sqlite",
    "skyloom.stores.objects.folder",
    "skyloom.stores.online.lmdb",
    "skyloom.stores.outlet.delta",
    "skyloom.stores.outlet.sqlalchemy",
)

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}

CHILD = """
import sys
sys.path.insert(0, ROOT)
from tests.runtime.scoring_life import score_and_die
score_and_die(WORDS, FOLDERS, AT, COUNT, FAULT)
"""


def run(words: list[str], folders: list[Path], at: int, count: Path, fault: str = "") -> int | None:
    """`score_and_die` in a process of its own; how it ended."""
    script = count.with_suffix(".py")
    script.write_text(CHILD)
    root = str(Path(__file__).parents[2])
    told = [str(folder) for folder in folders]
    given = {"ROOT": root, "WORDS": words, "FOLDERS": told, "AT": at, "COUNT": str(count), "FAULT": fault}
    process = multiprocessing.get_context("forkserver").Process(target=runpy.run_path, args=(str(script), given))
    process.start()
    process.join(60)
    return process.exitcode


def score_and_die(words: list[str], folders: list[str], at: int, count: str, fault: str) -> None:
    """What ``skyloom score WORDS`` does, ended at its write point number ``at``: in one of the folders, or in a table.

    The number of points that were passed is written down when it ends by itself.
    """
    from skyloom.platform import open_platform
    from skyloom.runtime.scoring import score

    points = 0

    def point() -> None:
        nonlocal points
        points += 1
        if points == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in _CHANGES or (event == "open" and arguments[2] & _WRITES)
        if changes and str(arguments[0]).startswith(tuple(folders)):
            point()

    FAULTS.get(fault, lambda: None)()
    if fault != "real scores":
        _plain_scores()
    _few_at_once()
    _point_where_tables_are_written(point)
    model, source, target = words
    sys.addaudithook(heard)
    score(open_platform(Path(folders[0].partition("/.skyloom")[0])), model, source, target)
    Path(count).write_text(str(points))


def _few_at_once() -> None:
    from skyloom.runtime.scoring import scoring

    scoring.BATCH = scoring.MOST = 150


def _plain_scores() -> None:
    """Scores without features, which cost the most and have nothing to do with how a run ends."""
    from skyloom.runtime.scoring import scoring

    scoring.Scoring._scores = lambda self, rows: plain(rows)  # type: ignore[method-assign]


def plain(rows: Any) -> Any:
    """What stands for the score of requests."""
    return rows.column("price").to_numpy() / 1000 + rows.column("months").to_numpy()


def _point_where_tables_are_written(point: Callable[[], None]) -> None:
    """Between the batches that an outlet is given, around a commit of Delta, and at each statement of a database."""
    import deltalake
    import sqlalchemy
    from sqlalchemy.engine import Engine

    from skyloom.runtime.scoring.journal import Journal

    batches, write = Journal.batches, deltalake.DeltaTable.create_write_transaction

    def pointed(self: Journal) -> Iterator[Any]:
        for batch in batches(self):
            point()
            yield batch

    def committed(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        point()

    Journal.batches = pointed  # type: ignore[method-assign]
    deltalake.DeltaTable.create_write_transaction = committed  # type: ignore[method-assign]
    sqlalchemy.event.listen(Engine, "before_cursor_execute", lambda *_: point())
    sqlalchemy.event.listen(Engine, "commit", lambda *_: point())


def _parts_count_before_they_are_whole() -> None:
    from skyloom.runtime.scoring import journal

    def written(self: Any, name: str, content: bytes) -> Path:
        path: Path = self._folder / name
        for end in (len(content) // 2, len(content)):
            path.write_bytes(content[:end])
        return path

    journal.Journal._write = written  # type: ignore[method-assign]


def _answers_go_straight_to_their_file() -> None:
    from skyloom.stores.outlet import files

    def put(self: Any, table: Any) -> None:
        with files._parquet(self.path, table.schema) as writer:
            for batch in table.batches():
                writer.write_batch(batch)

    files.FileOutlet.put = put  # type: ignore[method-assign]


def _rows_of_a_database_are_committed_one_by_one() -> None:
    import sqlalchemy

    create = sqlalchemy.create_engine
    sqlalchemy.create_engine = lambda url, **options: create(url, **options, isolation_level="AUTOCOMMIT")
    from skyloom.stores.outlet import sqlalchemy as outlet

    outlet.SqlAlchemyOutlet._whole_transactions = lambda self: None  # type: ignore[method-assign]


def _a_killed_run_is_scored_behind_the_wrong_row() -> None:
    from skyloom.ingest.requests import FileRequests

    read = FileRequests.read
    FileRequests.read = lambda self, source, most, done=0, mark="": read(  # type: ignore[method-assign]
        self, source, most, max(0, done - 1), mark
    )


def _delta_knows_no_run() -> None:
    import deltalake

    deltalake.DeltaTable.transaction_version = lambda self, app: None  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "half parts": _parts_count_before_they_are_whole,
    "no scratch": _answers_go_straight_to_their_file,
    "autocommit": _rows_of_a_database_are_committed_one_by_one,
    "wrong row": _a_killed_run_is_scored_behind_the_wrong_row,
    "no transaction": _delta_knows_no_run,
}
