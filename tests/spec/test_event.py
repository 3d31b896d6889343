"""Events: what a class of columns means, and what it refuses."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import skyloom as sky
from skyloom.kernel.errors import DataError, DeclarationError
from skyloom.kernel.schema import Field, Type
from skyloom.spec.event import schema_of


class Departure(sky.Event):
    flight_id: str = sky.key()
    scheduled: sky.Timestamp = sky.time()
    miles: float = sky.field(precision=2)
    seats: int | None
    cancelled: bool = sky.field(nullable=True)
    seen: sky.Timestamp | None


def test_the_schema_holds_names_types_and_roles_in_order():
    schema = schema_of(Departure)
    assert schema.fields == (
        Field("flight_id", Type.STRING),
        Field("scheduled", Type.TIMESTAMP),
        Field("miles", Type.FLOAT, precision=2),
        Field("seats", Type.INT, nullable=True),
        Field("cancelled", Type.BOOL, nullable=True),
        Field("seen", Type.TIMESTAMP, nullable=True),
    )
    assert (schema.key, schema.time) == ("flight_id", "scheduled")


def test_an_event_inherits_the_columns_of_its_base():
    class Diverted(Departure):
        to: str

    assert schema_of(Diverted).names == (*schema_of(Departure).names, "to")
    assert schema_of(Diverted).key == "flight_id"


def _departure(**changes: Any) -> Departure:
    values: dict[str, Any] = {
        "flight_id": "UA1",
        "scheduled": 0,
        "miles": 1.5,
        "seats": None,
        "cancelled": None,
        "seen": None,
    }
    return Departure(**(values | changes))


@given(st.datetimes(timezones=st.timezones()))
def test_a_moment_is_kept_in_whole_milliseconds(moment: datetime):
    kept = _departure(scheduled=moment).scheduled
    assert isinstance(kept, int)
    back = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=kept)
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)


def test_the_same_moment_in_two_zones_is_one():
    there = datetime(2013, 1, 1, 5, tzinfo=timezone(timedelta(hours=-5)))
    assert _departure(scheduled=there) == _departure(scheduled=datetime(2013, 1, 1, 10, tzinfo=UTC))


def test_events_are_values():
    assert _departure() == _departure()
    assert len({_departure(), _departure(), _departure(miles=2.0)}) == 2
    assert _departure() != "UA1"
    with pytest.raises(AttributeError, match="frozen"):
        _departure().miles = 3.0  # type: ignore[misc]


def test_an_instance_names_what_is_unknown_missing_or_without_zone():
    with pytest.raises(DataError, match=r"no column 'mile'[\s\S]*did you mean miles"):
        _departure(mile=1)
    with pytest.raises(DataError, match="Departure needs scheduled, miles"):
        Departure(flight_id="UA1", seats=1, cancelled=False, seen=None)  # type: ignore[call-arg]
    with pytest.raises(DataError, match="no time zone"):
        _departure(scheduled=datetime(2013, 1, 1))


@pytest.mark.parametrize(
    ("annotation", "hint"),
    [
        (list[int], "write str"),
        (datetime, "sky.Timestamp"),
        (int | str, "write str"),
        (bytes, "write str"),
        ("Nowhere", "import"),
    ],
)
def test_an_annotation_that_no_column_can_have_is_refused(annotation: object, hint: str):
    with pytest.raises(DeclarationError, match=hint):
        type("Odd", (sky.Event,), {"__annotations__": {"x": annotation}, "__module__": __name__})


def test_columns_have_no_defaults():
    with pytest.raises(DeclarationError, match=r"Odd\.x has the value 3"):
        type("Odd", (sky.Event,), {"__annotations__": {"x": int}, "x": 3, "__module__": __name__})


@pytest.mark.parametrize("precision", [-1, 16])
def test_a_precision_that_no_float_holds_is_refused(precision: int):
    with pytest.raises(DeclarationError, match="decimal digits"):
        sky.field(precision=precision)
