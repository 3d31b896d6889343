"""Batch scores: one row for each row, in order, as of its own moment, whole or not at all."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from skyloom.cli.main import main
from skyloom.features.offline.dataset import build
from skyloom.kernel.errors import DataError, NotFound, Transient, UsageError
from skyloom.package import load
from skyloom.platform import Platform
from skyloom.registry.versions import get_version
from skyloom.runtime.scoring import Scored, score, scoring
from skyloom.runtime.state import applied

MODEL = "churn"


def score_file(platform: Platform, model: str, source: Path, target: Path, **options: Any) -> Scored:
    return score(platform, model, str(source), str(target), **options)


@pytest.fixture
def requests(platform: Platform) -> Path:
    return platform.directory / "data" / "renewals.parquet"


def test_scores_are_those_of_the_training_sets_inputs(platform: Platform, requests: Path, tmp_path: Path):
    target = tmp_path / "out.parquet"
    done = score_file(platform, MODEL, requests, target)
    project = applied(platform.metadata).project
    table = build(
        project.models[MODEL], project, platform.lake, platform.online, now_ms=platform.clock.now_ms()
    ).table.to_pylist()
    scorer = load(platform.objects, get_version(platform.metadata, MODEL, 1).package).scorer
    names = [wanted.name for wanted in project.models[MODEL].inputs]
    expected = {row["key"]: scorer.score_row([row[name] for name in names]) for row in table}
    found = pq.read_table(target).to_pylist()
    assert [row["key"] for row in found] == pq.read_table(requests).column("renewal_id").to_pylist()
    assert {row["key"]: row["score"] for row in found} == expected
    assert all(row["label"] == (row["score"] >= 0.5) and row["error"] is None for row in found)
    assert (done.rows, done.scored, done.version, done.errors) == (len(found), len(found), 1, {})


def test_batches_change_nothing(platform: Platform, requests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    score_file(platform, MODEL, requests, tmp_path / "whole.parquet")
    monkeypatch.setattr(scoring, "BATCH", 997)
    monkeypatch.setattr(scoring, "MOST", 997)
    told: list[int] = []
    score_file(platform, MODEL, requests, tmp_path / "parts.parquet", on_rows=told.append)
    assert pq.read_table(tmp_path / "whole.parquet").equals(pq.read_table(tmp_path / "parts.parquet"))
    assert len(told) > 3
    assert max(told) == 997


def test_csv_and_parquet_agree(platform: Platform, requests: Path, tmp_path: Path):
    rows = pq.read_table(requests).slice(0, 300)
    pq.write_table(rows, tmp_path / "in.parquet")
    pyarrow.csv.write_csv(rows, tmp_path / "in.csv")
    score_file(platform, MODEL, tmp_path / "in.parquet", tmp_path / "a.parquet")
    score_file(platform, MODEL, tmp_path / "in.csv", tmp_path / "b.csv")
    from_csv = pyarrow.csv.read_csv(tmp_path / "b.csv")
    from_parquet = pq.read_table(tmp_path / "a.parquet")
    for name in ("key", "score", "label"):
        assert from_csv.column(name).to_pylist() == from_parquet.column(name).to_pylist()


def test_a_row_that_breaks_the_contract_gets_its_error_in_its_place(platform: Platform, tmp_path: Path):
    due = "2025-06-01T00:00:00Z"
    lines = [
        "renewal_id,due,customer_id,plan,price,months",
        f"a,{due},c0001,basic,9.0,3",
        f"b,{due},c0001,basic,cheap,3",
        f",{due},c0001,basic,9.0,3",
        "d,yesterday,c0001,basic,9.0,3",
        f"e,{due},c0001,basic,,3",
        f"f,{due},c0001,basic,nan,3",
        f'"g, quoted",{due},c0001,"ba\nsic",9.0,3',
        "h,1748736000000,c0001,basic,9.0,3",
        "i,2025-06-01 00:00:00,c0001,basic,9.0,99999999999999999999",
    ]
    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("\n".join(lines) + "\n")
    score_file(platform, MODEL, source, target)
    found = pq.read_table(target).to_pylist()
    assert [row["key"] for row in found] == ["a", "b", "", "d", "e", "f", "g, quoted", "h", "i"]
    assert [row["error"] for row in found] == [
        None,
        "price: 'cheap' is not a number",
        "renewal_id: empty",
        "due: 'yesterday' is not a time (milliseconds since 1970, or text such as 2013-04-01T09:30:00Z)",
        "price: null",
        "price: not a finite number",
        None,
        None,
        "months: '99999999999999999999' is not a whole number",
    ]
    assert all((row["score"] is None) == (row["error"] is not None) == (row["label"] is None) for row in found)
    assert found[0]["score"] == found[7]["score"]  # the same moment, written in two ways


def test_a_request_of_tomorrow_and_an_unknown_customer_are_scored(platform: Platform, tmp_path: Path):
    moment = pa.array([platform.clock.now_ms() + 86_400_000], pa.timestamp("ms", tz="UTC"))
    row = {"renewal_id": ["x"], "due": moment, "customer_id": ["nobody"], "plan": ["basic"], "price": [9], "months": [1]}
    pq.write_table(pa.table(row), tmp_path / "in.parquet")
    score_file(platform, MODEL, tmp_path / "in.parquet", tmp_path / "out.parquet")
    [found] = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert found["error"] is None
    assert math.isfinite(found["score"])


def test_no_rows_give_no_rows(platform: Platform, requests: Path, tmp_path: Path):
    pq.write_table(pq.read_table(requests).slice(0, 0), tmp_path / "in.parquet")
    done = score_file(platform, MODEL, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert done.rows == 0
    assert (tmp_path / "out.csv").read_text() == '"key","score","label","error"\n'


def _damaged(path: Path, requests: Path) -> None:
    content = requests.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "name", "error", "word"),
    [
        (lambda path, _: None, "none.parquet", NotFound, "no file"),
        (lambda path, _: path.write_text("x"), "in.txt", DataError, "is neither Parquet"),
        (lambda path, _: path.write_text(""), "in.csv", DataError, "cannot be read"),
        (lambda path, _: path.write_text("renewal_id,due\n"), "in.csv", DataError, "lacks"),
        (
            lambda path, _: path.write_text("renewal_id,due,customer_id,plan,price,months\n1,2\n"),
            "in.csv",
            DataError,
            "read",
        ),
        (_damaged, "in.parquet", DataError, "cannot be read"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_leaves_the_target_alone(
    platform: Platform, requests: Path, tmp_path: Path, make: Any, name: str, error: type[Exception], word: str
):
    folder = tmp_path / "work"
    folder.mkdir()
    target = folder / "out.csv"
    target.write_text("as before")
    make(tmp_path / name, requests)
    with pytest.raises(error, match=word):
        score_file(platform, MODEL, tmp_path / name, target)
    assert [path.name for path in folder.iterdir()] == ["out.csv"]
    assert target.read_text() == "as before"


def test_a_model_that_dies_in_the_middle_leaves_nothing(
    platform: Platform, requests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scoring, "BATCH", 500)
    monkeypatch.setattr(scoring, "MOST", 500)
    calls: list[int] = []

    def fails(*_: object) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise Transient("no more")
        return real(*_)

    real = scoring.score_table
    monkeypatch.setattr(scoring, "score_table", fails)
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(Transient):
        score_file(platform, MODEL, requests, folder / "out.parquet")
    assert list(folder.iterdir()) == []


def test_the_input_is_not_overwritten_and_unknown_names_are_told(platform: Platform, requests: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="itself"):
        score_file(platform, MODEL, requests, requests)
    with pytest.raises(NotFound, match="no model 'chrun'"):
        score_file(platform, "chrun", requests, tmp_path / "out.csv")
    with pytest.raises(NotFound, match="no version 9"):
        score_file(platform, MODEL, requests, tmp_path / "out.csv", version=9)


def test_the_command(
    platform: Platform, requests: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(platform.directory)
    assert main(["score", MODEL, str(requests), "out.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == told["scored"] == len(pq.read_table(requests))
    assert main(["score", MODEL, "nothing.csv", "out2.csv"]) == 1
    assert "no file nothing.csv" in capsys.readouterr().err
    assert not Path("out2.csv").exists()
