"""Entity tables compiled: which rows a request is given, in which order, under which names."""

import pytest

import skyloom as sky
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import LookupDef
from skyloom.kernel.schema import Type
from skyloom.plan import compile_project, diff, explain

TABLES = (
    "late = sky.Label",
    """class Plane(sky.Event):
    change: str = sky.key()
    since: sky.Timestamp = sky.time()
    carrier: str
    owner: str | None
    seats: int | None
planes = sky.Source(Plane)
fleet = sky.Table(planes, by="carrier")
owners = sky.Table(planes, by="carrier")
late = sky.Label""",
)
FEATURES = (
    "carrier_recent, dest_recent]",
    """carrier_recent.of(fleet["owner"]), dest_recent, fleet["seats"], owners.of(fleet["owner"])["seats"],
                     (sky.col("distance_miles") / fleet["seats"]).named("miles_a_seat")]""",
)


def test_rows_are_looked_up_one_after_the_other(flights):
    project = compile_project(flights(TABLES, FEATURES))
    model = project.models["late_arrival"]
    assert model.lookups == (
        LookupDef("fleet", "fleet", ("carrier",)),
        LookupDef("fleet.owner.owners", "owners", ("fleet.owner",)),
    )
    fleet = project.groups["fleet"]
    assert (fleet.source, fleet.by, fleet.aggregates, fleet.attributes) == ("planes", ("carrier",), (), ("owner", "seats"))
    found = {each.name: each for each in model.inputs}
    assert found["carrier_recent_delay_1h"].entity == ("fleet.owner",)
    assert found["dest_recent_worst_3h"].entity == ("dest",)
    assert (found["fleet_seats"].type, found["fleet_seats"].expression) == (Type.INT, col("fleet.seats").expression)
    assert found["fleet_owner_owners_seats"].expression == col("fleet.owner.owners.seats").expression
    assert found["miles_a_seat"].type is Type.FLOAT
    assert set(model.groups) == {"fleet", "owners", "carrier_recent", "dest_recent"}


def test_a_new_table_and_a_changed_one_are_told(flights):
    before, after = compile_project(flights()), compile_project(flights(TABLES, FEATURES))
    assert "builds a table of 2 columns" in explain(diff(before, after))
    changed = compile_project(
        flights((TABLES[0], TABLES[1].replace("    seats: int | None", "    seats: int | None\n    age: int")), FEATURES)
    )
    assert "columns: owner, seats -> owner, seats, age" in explain(diff(after, changed))
    assert "rebuilds a table of 3 columns" in explain(diff(after, changed))


def test_a_table_without_a_name_is_refused(flights):
    with pytest.raises(DeclarationError, match="uses a Table that has no name"):
        flights(TABLES, (FEATURES[0], 'dest_recent, sky.Table(planes, by="carrier")["seats"]]'))


class Plane(sky.Event):
    change: str = sky.key()
    since: sky.Timestamp = sky.time()
    carrier: str
    owner: str


def test_keys_are_columns():
    fleet = sky.Table(sky.Source(Plane), by=("carrier", "owner"))
    for keys in ((), (sky.col("a"),), (sky.col("a"), sky.col("b") > 1)):
        with pytest.raises(DeclarationError, match="a key is needed for each of carrier, owner"):
            fleet.of(*keys)
    for by in ((), ("carrier", "carrier")):
        with pytest.raises(DeclarationError, match="names no entity"):
            sky.Table(sky.Source(Plane), by=by)
