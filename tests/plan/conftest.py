"""The project of the product's first page, and projects made of parts of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from skyloom.spec.project import Project, load

FLIGHTS = '''"""Will this flight arrive late? Real departures from New York in 2013."""
import skyloom as sky

class Departure(sky.Event):
    """One scheduled departure: what is known when somebody asks."""
    flight_id: str = sky.key()
    scheduled: sky.Timestamp = sky.time()
    carrier: str
    origin: str
    dest: str
    distance_miles: float

class Arrival(sky.Event):
    """One landing: known when it has landed, never before."""
    flight_id: str = sky.key()
    landed: sky.Timestamp = sky.time()
    carrier: str
    dest: str
    arr_delay_min: float

departures = sky.Source(Departure, table="data/departures.parquet", stream="departures")
arrivals = sky.Source(Arrival, table="data/arrivals.parquet", stream="arrivals")

late = sky.Label(arrivals, on="flight_id", value=sky.col("arr_delay_min") > 15, within="36h")

carrier_recent = sky.Features(arrivals, by="carrier",
    delay=sky.mean("arr_delay_min", over=["1h", "6h", "7d"]),
    landings=sky.count(over=["1h", "24h"]))
dest_recent = sky.Features(arrivals, by="dest", worst=sky.max("arr_delay_min", over=["3h"]))

@sky.model(requests=departures, label=late,
           features=[departures["carrier", "origin", "dest", "distance_miles"],
                     sky.hour("scheduled"), sky.weekday("scheduled"), carrier_recent, dest_recent])
def late_arrival(X, y, *, learning_rate: float = 0.1, num_leaves: int = 31):
    from lightgbm import LGBMClassifier
    return LGBMClassifier(learning_rate=learning_rate, num_leaves=num_leaves).fit(X, y)

sky.Loop(late_arrival,
    search=sky.Search(trials=20, learning_rate=(0.01, 0.3, "log"), num_leaves=(8, 128)),
    gates=[sky.better_than_champion("roc_auc"), sky.no_slice_worse("carrier", by=0.02), sky.latency_p99("5ms")],
    rollout=[sky.shadow("1h"), sky.canary(1, 5, 25, 50), sky.full()],
    retrain=[sky.every("7d"), sky.when_performance_drops(), sky.when_drift()],
    budget=sky.usd(20, per="month"))
'''

Flights = Callable[..., Project]


@pytest.fixture
def flights(tmp_path: Path) -> Flights:
    """The flights project, with texts of it replaced by others (each must be there)."""

    def make(*edits: tuple[str, str]) -> Project:
        text = FLIGHTS
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "flights.py").write_text(text)
        return load(tmp_path)

    return make
