"""A run killed at every write point: the target is as before or whole, and the same command ends what was begun."""

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.runtime.scoring_life import run

from skyloom.platform import Platform

ROWS = 300
SCHEMA = pa.schema([("key", pa.string()), ("score", pa.float64()), ("label", pa.bool_()), ("error", pa.string())])
OLD = pa.table([["old"], [0.5], [True], [None]], SCHEMA)
Rows = list[tuple[Any, ...]]


class Case(NamedTuple):
    """A kind of target: its words, how the table before is put there, and how it is read."""

    words: Callable[[Path], str]
    put: Callable[[Path], None]
    read: Callable[[Path], Rows]
    first: int
    """The first write point that is not like those of a Parquet file."""


def told(table: pa.Table) -> Rows:
    return [tuple(row[name] for name in ("key", "score", "error")) for row in table.to_pylist()]


def _put_sql(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "out.db")) as database, database:
        database.execute("CREATE TABLE told (key TEXT, score DOUBLE, label BOOLEAN, error TEXT)")
        database.execute("INSERT INTO told VALUES ('old', 0.5, 1, NULL)")


def _read_sql(folder: Path) -> Rows:
    with contextlib.closing(sqlite3.connect(folder / "out.db")) as database:
        return database.execute("SELECT key, score, error FROM told ORDER BY rowid").fetchall()


def _read_folder(folder: Path) -> Rows:
    return told(pq.read_table(folder / "many")) if (folder / "many").exists() else told(OLD)


def _read_delta(folder: Path) -> Rows:
    return told(DeltaTable(folder / "delta").to_pyarrow_table())


CASES = {
    "parquet": Case(
        lambda folder: f"{folder}/out.parquet",
        lambda folder: pq.write_table(OLD, folder / "out.parquet"),
        lambda folder: told(pq.read_table(folder / "out.parquet")),
        1,
    ),
    "folder": Case(lambda folder: f"{folder}/many/", lambda folder: None, _read_folder, 12),
    "delta": Case(
        lambda folder: f"delta://{folder}/delta", lambda folder: write_deltalake(folder / "delta", OLD), _read_delta, 12
    ),
    "sql": Case(lambda folder: f"sqlite:///{folder}/out.db?table=told", _put_sql, _read_sql, 12),
}


class Killed:
    """Runs of one case, each in folders of its own."""

    def __init__(self, platform: Platform, folder: Path, case: Case, fault: str = "") -> None:
        self._platform, self._folder, self._case, self._fault = platform, folder, case, fault
        rows = pq.read_table(platform.directory / "data" / "renewals.parquet").slice(0, ROWS)
        prices, keys = rows.column("price").to_pylist(), rows.column("renewal_id").to_pylist()
        prices[7], keys[11] = None, keys[10]
        rows = rows.set_column(rows.column_names.index("price"), "price", pa.array(prices, pa.float64()))
        rows = rows.set_column(rows.column_names.index("renewal_id"), "renewal_id", pa.array(keys))
        self._source = folder / "in.parquet"
        pq.write_table(rows, self._source)
        months = rows.column("months").to_pylist()
        self.expected: Rows = [
            (key, None, "price: null") if price is None else (key, price / 1000 + month, None)
            for key, price, month in zip(keys, prices, months, strict=True)
        ]

    def points(self) -> int:
        """How many there are in a run that nobody kills."""
        where = self._fresh("whole")
        assert self._run(where, 0) == 0
        assert self._case.read(where) == self.expected
        return int((where.parent / "count").read_text())

    def wrong_at(self, at: int) -> str:
        """What is wrong after a kill at a write point, and after the same command once more; "" when nothing is."""
        where = self._fresh(str(at))
        assert self._run(where, at) == -signal.SIGKILL
        if self._outcome(where) not in (told(OLD), self.expected):
            return "half"
        ended = self._outcome(where) == self.expected and not self._begun()  # killed while it forgot that it had begun
        if self._run(where, 0) != 0 and not (ended and self._case.words(where).endswith("/")):
            return "does not go on"
        if self._outcome(where) != self.expected:
            return "wrong"
        left = [path.name for path in where.iterdir() if path.name.startswith(".")]
        left += [path.name for path in (self._platform.state / "scoring").iterdir() if any(path.rglob("*"))]
        versions = DeltaTable(where / "delta").version() if (where / "delta").exists() else 1
        return "" if not left and versions <= 1 + ended else f"left: {left}, versions: {versions}"

    def _begun(self) -> bool:
        return any((self._platform.state / "scoring").glob("*/run.json"))

    def _outcome(self, where: Path) -> Rows | None:
        with contextlib.suppress(pa.ArrowException, OSError):
            return self._case.read(where)
        return None

    def _fresh(self, name: str) -> Path:
        shutil.rmtree(self._platform.state / "scoring", ignore_errors=True)
        where = self._folder / name / "out"
        where.mkdir(parents=True)
        self._case.put(where)
        return where

    def _run(self, where: Path, at: int) -> int | None:
        folders = [self._platform.state / "scoring", where]
        words = ["churn", str(self._source), self._case.words(where)]
        return run(words, folders, at, where.parent / "count", self._fault)


@pytest.mark.parametrize("name", CASES)
def test_a_run_killed_at_any_write_point_is_ended_by_the_same_command(
    platform: Platform, tmp_path: Path, name: str, note: Callable[[str], None]
) -> None:
    killed = Killed(platform, tmp_path, CASES[name])
    points = killed.points()
    first = 1 if int(os.environ.get("SKYLOOM_SOAK", "1")) > 1 else CASES[name].first
    assert points > first + 5
    for at in range(first, points + 1):
        assert killed.wrong_at(at) == "", f"after a kill at write point {at} of {points}"
    note(f"skyloom score into {name}: killed at {points - first + 1} write points, every row once")


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("half parts", "parquet"),
        ("no scratch", "parquet"),
        ("wrong row", "parquet"),
        ("autocommit", "sql"),
        ("no transaction", "delta"),
    ],
)
def test_a_fault_is_found(platform: Platform, tmp_path: Path, fault: str, name: str) -> None:
    """The test above can fail."""
    killed = Killed(platform, tmp_path, CASES[name], fault)
    points = range(CASES[name].first, killed.points() + 1)
    from_the_middle = sorted(points, key=lambda at: abs(at - points[len(points) // 2]))
    assert any(killed.wrong_at(at) for at in from_the_middle)
