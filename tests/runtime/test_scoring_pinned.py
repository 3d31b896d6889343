"""What a run is bound to stays what it was when it began; and what is said when it cannot begin or end."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.runtime.scoring_life import run
from tests.runtime.test_scoring_places import Ended, ends_after

from skyloom.cli.main import main
from skyloom.features.offline.history import MEMORY
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import NotFound, Refused, Transient
from skyloom.platform import Platform
from skyloom.registry.champion import Champion, crown
from skyloom.registry.versions import KIND as VERSION
from skyloom.registry.versions import get_version, version_id
from skyloom.runtime.ingesting import ingest
from skyloom.runtime.scoring import Scoring, journal, running, score, scoring
from skyloom.runtime.scoring.journal import OTHERS, Journal
from skyloom.runtime.scoring.remembered import Remembered
from skyloom.testing.faults import full_disk

MODEL = "churn"


@pytest.fixture
def requests(platform: Platform, tmp_path: Path) -> str:
    table = pq.read_table(platform.directory / "data" / "renewals.parquet")
    pq.write_table(table.slice(len(table) - 600), tmp_path / "in.parquet")
    return f"{tmp_path}/in.parquet"


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH", 200)
    monkeypatch.setattr(scoring, "MOST", 200)


@pytest.mark.usefixtures("few_at_once")
def test_events_and_a_promotion_in_the_middle_change_nothing(platform: Platform, requests: str, tmp_path: Path) -> None:
    score(platform, MODEL, requests, f"{tmp_path}/undisturbed.parquet")
    with pytest.raises(Ended):
        score(platform, MODEL, requests, f"{tmp_path}/out.parquet", on_rows=ends_after(1))
    _more_visits(platform, tmp_path)
    _another_version(platform)
    crown(platform.metadata, Champion(MODEL, 2, 0, "tester", "it is newer"), instead_of=1)
    done = score(platform, MODEL, requests, f"{tmp_path}/out.parquet")
    assert (done.version, done.known, done.rows) == (1, 200, 600)
    undisturbed = pq.read_table(tmp_path / "undisturbed.parquet")
    assert pq.read_table(tmp_path / "out.parquet").equals(undisturbed)
    anew = score(platform, MODEL, requests, f"{tmp_path}/anew.parquet", version=1)
    assert not pq.read_table(tmp_path / "anew.parquet").equals(undisturbed)  # the events would have made a difference
    assert (anew.version, score(platform, MODEL, requests, f"{tmp_path}/new.csv").version) == (1, 2)


def _another_version(platform: Platform) -> None:
    """Version 2, which is like version 1."""
    version = msgspec.structs.replace(get_version(platform.metadata, MODEL, 1), number=2)
    with platform.metadata.transaction("tester") as transaction:
        transaction.put(VERSION, version_id(MODEL, 2), msgspec.json.encode(version), action="test")


def _more_visits(platform: Platform, folder: Path) -> None:
    visits = pq.read_table(platform.directory / "data" / "visits.parquet")
    key = next(name for name in visits.column_names if name.startswith("visit"))
    keys = pa.array([f"more-{number}" for number in range(len(visits))])
    pq.write_table(visits.set_column(visits.column_names.index(key), key, keys), folder / "more.parquet")
    assert ingest(platform, "visits", folder / "more.parquet").accepted == len(visits)


@pytest.mark.usefixtures("few_at_once")
def test_a_version_whose_package_is_another_does_not_go_on(
    platform: Platform, requests: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Ended):
        score(platform, MODEL, requests, f"{tmp_path}/out.parquet", on_rows=ends_after(1))
    monkeypatch.setattr(Scoring, "definition", "another")
    with pytest.raises(Refused, match="is not what it was when 200 rows were scored"):
        score(platform, MODEL, requests, f"{tmp_path}/out.parquet")


@pytest.mark.usefixtures("few_at_once")
def test_a_killed_process_with_all_its_features_is_gone_on_with(
    platform: Platform, requests: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As users see it: killed for real, the command typed again."""
    score(platform, MODEL, requests, f"{tmp_path}/undisturbed.parquet")
    out = tmp_path / "out.parquet"
    words = [MODEL, requests, str(out)]
    assert run(words, [platform.state / "scoring"], 9, tmp_path / "count", "real scores") == -9
    assert not out.exists()
    monkeypatch.chdir(platform.directory)
    assert main(["score", *words]) == 0
    told = capsys.readouterr()
    assert "rows are scored already, by v1: going on behind them" in told.out
    assert "churn v1: 600 of 600 rows have a score" in told.out
    assert "600 of 600, " in told.err
    assert "rows/s" in told.err
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "undisturbed.parquet"))


def test_two_runs_into_one_target_do_not_meet(platform: Platform, requests: str, tmp_path: Path) -> None:
    with running(platform, MODEL, requests, f"{tmp_path}/out.csv") as one:
        with pytest.raises(Refused, match="another skyloom score is at work on"):
            score(platform, MODEL, requests, f"{tmp_path}/out.csv")
        assert score(platform, MODEL, requests, f"{tmp_path}/other.csv").rows == 600
        assert one.finish().rows == 600


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    platform: Platform, requests: str, tmp_path: Path, few_at_once: None
) -> None:
    full = pytest.raises(Transient, match="there is no room left")
    with running(platform, MODEL, requests, f"{tmp_path}/out.parquet") as one, full_disk(4_000), full:
        one.finish()
    assert not list(tmp_path.glob("*out.parquet"))
    assert score(platform, MODEL, requests, f"{tmp_path}/out.parquet").rows == 600


def test_a_model_without_a_champion(platform: Platform, requests: str, tmp_path: Path) -> None:
    with platform.metadata.transaction("tester") as transaction:
        transaction.delete("alias", f"{MODEL}/champion", action="test")
    with pytest.raises(NotFound, match="churn has no champion yet") as told:
        score(platform, MODEL, requests, f"{tmp_path}/out.csv")
    assert told.value.fix == "skyloom train churn"
    assert get_version(platform.metadata, MODEL, 1).number == 1


def test_what_is_remembered_of_the_lake_is_bounded_and_changes_nothing(platform: Platform, requests: str) -> None:
    table = events_topic("visits")
    version = platform.lake.version(table)
    held, bounded = Remembered(platform.lake, {table: version}, MEMORY), Remembered(platform.lake, {table: version}, 1_000)
    for lake in (held, bounded, held, bounded):
        batches = list(lake.scan(table, columns=["customer_id"]))
        assert sum(batch.num_rows for batch in batches) == lake.rows > 1_000
    assert held._tables
    assert not bounded._tables
    rows = pq.read_table(requests)
    one, other = Scoring(platform, MODEL), Scoring(platform, MODEL)
    other._remembered = Remembered(platform.lake, other.lake, 1_000)
    assert one.inputs(rows).equals(other.inputs(rows))
    assert one.inputs(rows).equals(other.inputs(rows))


def test_reasons_are_counted_in_bounded_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MOST_REASONS", 3)
    kept = Journal(tmp_path / "run")
    kept.begin(journal.Begun("run", MODEL, 1, "", "", "", "", {}))
    kept.add(pa.table({"error": pa.array(["a", "b", None, "a"])}), "here")
    kept.add(pa.table({"error": pa.array(["c", "d", "e", "a"])}), "there")
    assert kept.errors() == {"a": 3, "b": 1, "c": 1, OTHERS: 2}
    again = Journal(tmp_path / "run")
    assert (again.rows, again.mark) == (8, "there")
