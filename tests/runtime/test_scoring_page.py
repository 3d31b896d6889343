"""The page about scoring, typed by a reader."""

import re
import shlex
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.runtime.test_scoring_places import from_sqlite, into_sqlite

from skyloom.cli.main import main
from skyloom.platform import Platform

PAGE = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()


def test_the_commands_of_the_page(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(platform.directory)
    rows = pq.read_table("data/renewals.parquet")
    few = rows.slice(0, 200)
    for folder in ("data/march", "lake"):
        Path(folder).mkdir()
    shutil.copy("data/renewals.parquet", "data/march/1.parquet")
    write_deltalake("lake/renewals", few)
    into_sqlite(few, Path("shop.db"))
    lines = re.findall(r"^\$ skyloom (.+)$", PAGE, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        assert main(shlex.split(line)) == 0, line
    assert capsys.readouterr().out.count("rows have a score") == 6
    whole = pq.read_table("scores.parquet")
    assert DeltaTable("lake/scores").to_pyarrow_table().equals(whole)
    assert whole.column_names == [name for name in ("key", "score", "label", "error") if f"| `{name}` |" in PAGE]
    assert len(Path("scores.ndjson").read_text().splitlines()) == 200
    by_key = dict(zip(whole.column("key").to_pylist(), whole.column("score").to_pylist(), strict=True))
    told = _scores(Path("shop.db"))
    assert sorted(told) == sorted((key, by_key[key]) for key in few.column("renewal_id").to_pylist())
    assert pq.read_table("scores").num_rows == sum(months > 1 for months in few.column("months").to_pylist())


def _scores(path: Path) -> list[tuple[str, float]]:
    table = from_sqlite(path, "scores")
    return list(zip(table.column("key").to_pylist(), table.column("score").to_pylist(), strict=True))
