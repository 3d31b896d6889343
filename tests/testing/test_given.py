"""Features unit-tested by their users: what `given` says is what a few lines of plain Python say."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as where
from hypothesis import settings
from hypothesis import strategies as st
from tests.features.memory import MemoryOnline

import skyloom as sky
from skyloom.features.online.fold import SourceFold
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.ingest.codec import decode
from skyloom.ingest.rows import encode_rows
from skyloom.kernel.errors import DataError, DeclarationError, UsageError
from skyloom.plan.compile import compile_project
from skyloom.ports.log import LogBatch
from skyloom.spec.project import Project
from skyloom.testing import given

MINUTE = 60_000
START = 1_364_774_400_000  # 2013-04-01T00:00:00Z


class Landing(sky.Event):
    flight: str = sky.key()
    landed: sky.Timestamp = sky.time()
    carrier: str
    dest: str | None
    delay: float | None = sky.field(precision=1)


landings = sky.Source(Landing)
by_carrier = sky.Features(landings, by="carrier", delay=sky.sum("delay", over=["1h"]), n=sky.count(over=["1h", "1d"]))
by_route = sky.Features(landings, by=("carrier", "dest"), n=sky.count(over=["1h"]), worst=sky.max("delay", over=["1h"]))


def landing(number: int, minute: int, **values: Any) -> dict[str, Any]:
    at = START + minute * MINUTE
    return {"flight": f"f{number}", "landed": at, "carrier": "UA", "dest": "ORD", "delay": 1.0, **values}


def test_a_late_event_counts_from_its_arrival_on():
    world = given(landings, [landing(1, 10)]).also(landings, [landing(2, 20)], arrived=START + 50 * MINUTE)
    assert world.at(START + 50 * MINUTE, by_carrier, by="UA")["n_1h"] == 1
    assert world.at(START + 50 * MINUTE + 1, by_carrier, by="UA")["n_1h"] == 2


def test_the_first_copy_to_arrive_is_the_one_that_counts():
    copies = given(landings, [landing(1, 10, delay=1.0)]).also(
        landings, [landing(1, 5, delay=9.0)], arrived=START + 30 * MINUTE
    )
    assert copies.at(START + 40 * MINUTE, by_carrier, by="UA") == {"delay_1h": 1.0, "n_1h": 1.0, "n_1d": 1.0}


def test_several_sources_groups_and_columns_of_an_entity():
    class Gate(sky.Event):
        id: str = sky.key()
        at: sky.Timestamp = sky.time()
        carrier: str

    gates = sky.Source(Gate)
    opened = sky.Features(gates, by="carrier", opened=sky.count(over=["1h"]))
    world = given(landings, [landing(1, 10), landing(2, 11, dest="SFO"), landing(3, 12, dest=None)])
    world = world.also(gates, [Gate(id="a", at=datetime(2013, 4, 1, 0, 5, tzinfo=UTC), carrier="UA")])
    assert world.at("2013-04-01T01:00Z", by_route, by=("UA", "ORD")) == {"n_1h": 1.0, "worst_1h": 1.0}
    assert world.at("2013-04-01T01:00Z", by_route, by=("UA", None)) == {"n_1h": 0.0, "worst_1h": None}
    assert world.at("2013-04-01T01:00Z", opened, by="UA") == {"opened_1h": 1.0}
    assert given(landings, []).at(START, by_carrier, by="UA") == {"delay_1h": None, "n_1h": 0.0, "n_1d": 0.0}


def test_the_newest_row_of_an_entity_table():
    class Plan(sky.Event):
        id: str = sky.key()
        since: sky.Timestamp = sky.time()
        customer: str
        tier: str | None
        ends: sky.Timestamp

    plans = sky.Source(Plan)
    table = sky.Table(plans, by="customer")
    world = given(
        plans,
        [
            {"id": "1", "since": 1_000, "customer": "c", "tier": "free", "ends": 50},
            {"id": "2", "since": 3_000, "customer": "c", "tier": None, "ends": 60},
        ],
    ).also(plans, [{"id": "3", "since": 2_000, "customer": "c", "tier": "gold", "ends": 70}], arrived=9_000)
    assert world.at(1_000, table, by="c")["tier"] is None
    assert world.at(2_000, table, by="c")["tier"] == "free"
    newest = world.at(10_000, table, by="c")
    assert (newest["tier"], newest["ends"]) == (None, 60)  # what comes late and is older changes nothing


EVENTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1500), st.integers(0, 400), st.none() | st.integers(-99, 99)))


@settings(max_examples=60, deadline=None)
@where(EVENTS, st.integers(0, 1600))
def test_it_says_what_plain_python_says(happened: list[tuple[int, int, int, int | None]], minute: int):
    world, t = given(landings, []), START + minute * MINUTE
    for number, at, late, tenths in happened:
        row = landing(number, at, delay=None if tenths is None else tenths / 10)
        world = world.also(landings, [row], arrived=START + (at + late - 200) * MINUTE if late >= 200 else row["landed"])
    assert world.at(t, by_carrier, by="UA") == naive(happened, minute)


def naive(happened: list[tuple[int, int, int, int | None]], minute: int) -> dict[str, float | None]:
    """Everything in whole minutes: first copies that arrived before, from the windows' floors on."""
    seen: dict[int, tuple[int, int | None]] = {}
    for number, at, late, tenths in sorted(happened, key=lambda each: each[1] + max(each[2] - 200, 0)):
        arrived = at + max(late - 200, 0)
        if arrived < minute:
            seen.setdefault(number, (min(at, arrived), tenths))
    hour = [each for each in seen.values() if each[0] >= (minute - 60) // 5 * 5]
    day = [each for each in seen.values() if each[0] >= (minute - 1440) // 60 * 60]
    known = [tenths for _, tenths in hour if tenths is not None]
    return {"delay_1h": sum(known) / 10 if known else None, "n_1h": len(hour), "n_1d": len(day)}


def test_errors_say_what_to_write():
    world = given(landings, [landing(1, 10)])
    with pytest.raises(DataError, match="Landing: carier: unknown column"):
        given(landings, [{"flight": "f1", "landed": START, "carier": "UA"}])
    with pytest.raises(UsageError, match="no time zone"):
        world.at("2013-04-01T12:00", by_carrier, by="UA")
    with pytest.raises(UsageError, match="is no moment"):
        world.at("yesterday", by_carrier, by="UA")
    with pytest.raises(UsageError, match="1 of the 2 columns"):
        world.at(START, by_route, by="UA")
    with pytest.raises(UsageError, match="carrier is a string"):
        world.at(START, by_carrier, by=7)
    with pytest.raises(DataError, match="would be refused: landed: in the future"):
        given(landings, [landing(1, 90)], arrived=START).at(START + 1, by_carrier, by="UA")
    with pytest.raises(UsageError, match="no events of Landing were given"):
        given(sky.Source(Landing), []).at(START, by_carrier, by="UA")
    with pytest.raises(DeclarationError, match="there is no column 'delai'"):
        world.at(START, sky.Features(landings, by="carrier", x=sky.sum("delai", over=["1h"])), by="UA")


@settings(max_examples=40, deadline=None)
@where(EVENTS, st.integers(0, 1600))
def test_it_says_what_the_stream_and_serving_say(happened: list[tuple[int, int, int, int | None]], minute: int):
    """The same events folded into tiles one by one as they arrive, and read as serving reads."""
    world, t = given(landings, []), START + minute * MINUTE
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, at, late, tenths in happened:
        row = landing(number, at, delay=None if tenths is None else tenths / 10)
        arrived = row["landed"] + max(late - 200, 0) * MINUTE
        rows.append((arrived, row))
        world = world.also(landings, [row], arrived=arrived)
    project = compile_project(Project("p", Path(), "p.py", {"landings": landings}, {"by_carrier": by_carrier}, {}, {}))
    group, source = project.groups["by_carrier"], project.sources["landings"]
    store, fold = MemoryOnline(), SourceFold(source, [group])
    names = source.schema.names
    seen = sorted((each for each in rows if each[0] < t), key=lambda each: each[0])
    for offset, (arrived, row) in enumerate(seen):
        batch = LogBatch(offset, 1, arrived, False, encode_rows([[row[name] for name in names]]))
        with store.write() as writer:
            fold.fold(writer, decode([batch], source.schema), offset + 1, arrived)
    read = OnlineFeatures(store, {"by_carrier": group}).read([("by_carrier", ("UA",))], t)
    assert tuple(world.at(t, by_carrier, by="UA").values()) == read.values[0]
