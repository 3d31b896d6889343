"""One group reached in several ways by one model: names, entities, and what expressions call each way."""

from collections.abc import Callable
from typing import Any

import pytest

import skyloom as sky
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import col, looked_up
from skyloom.kernel.records.definitions import FeatureRef
from skyloom.plan import compile_project
from skyloom.plan.aspects import model_aspects

Flights = Callable[..., Any]

TO_DEST = """ways = [carrier_recent, carrier_recent.of(sky.col("dest"), prefix="dest")]
there = ways[1]

@sky.model(requests=departures"""


def test_names_and_entities_differ(flights: Flights) -> None:
    features = ("carrier_recent, dest_recent]", '*ways, dest_recent, there["delay_1h"].named("there")]')
    model = compile_project(flights(("@sky.model(requests=departures", TO_DEST), features)).models["late_arrival"]
    found = {each.name: each for each in model.inputs}
    assert found["carrier_recent_delay_1h"].entity == ("carrier",)
    assert found["dest_carrier_recent_delay_1h"].entity == ("dest",)
    assert found["dest_carrier_recent_delay_1h"].group == "carrier_recent"
    assert (found["there"].aggregate, found["there"].entity) == ("delay_1h", ("dest",))
    assert model_aspects(model)["feature dest_carrier_recent_delay_1h"] == "delay_1h of carrier_recent by dest"


def test_one_of_them_alone_has_the_prefix_too(flights: Flights) -> None:
    features = ("carrier_recent, dest_recent]", 'there["delay_1h"], dest_recent]')
    model = compile_project(flights(("@sky.model(requests=departures", TO_DEST), features)).models["late_arrival"]
    found = {each.name: each.features for each in model.inputs}
    assert found["dest_carrier_recent_delay_1h"] == (FeatureRef("carrier_recent", "delay_1h", ("dest",)),)


def test_an_expression_reads_both_ways(flights: Flights) -> None:
    features = ("dest_recent]", 'dest_recent, (carrier_recent["delay_1h"] - there["delay_1h"]).named("apart")]')
    model = compile_project(flights(("@sky.model(requests=departures", TO_DEST), features)).models["late_arrival"]
    (apart,) = (each for each in model.inputs if each.name == "apart")
    own = FeatureRef("carrier_recent", "delay_1h", ("carrier",))
    other = FeatureRef("carrier_recent", "delay_1h", ("dest",), "carrier_recent.of(dest)")
    assert apart.reads == (own, other)
    assert (own.column, other.column) == ("carrier_recent.delay_1h", "carrier_recent.of(dest).delay_1h")
    wanted = looked_up("carrier_recent", "delay_1h") - looked_up("carrier_recent.of(dest)", "delay_1h")
    assert apart.expression is not None
    assert apart.expression.args == (wanted.expression,)


def test_the_same_way_said_twice_is_one(flights: Flights) -> None:
    again = '(carrier_recent["delay_1h"] - carrier_recent.of(sky.col("carrier"))["delay_1h"]).named("none")'
    model = compile_project(flights(("dest_recent]", f"dest_recent, {again}]"))).models["late_arrival"]
    (none,) = (each for each in model.inputs if each.name == "none")
    assert none.reads == (FeatureRef("carrier_recent", "delay_1h", ("carrier",)),)


def test_ways_without_a_prefix_are_told_what_to_add(flights: Flights) -> None:
    project = flights(("carrier_recent, dest_recent]", 'carrier_recent, carrier_recent.of(sky.col("dest")), dest_recent]'))
    with pytest.raises(DeclarationError, match="several features are called carrier_recent_delay_1h") as refused:
        compile_project(project)
    assert "prefix=" in str(refused.value)


def test_a_way_to_no_column_is_refused_within_expressions_too(flights: Flights) -> None:
    there = 'carrier_recent.of(sky.col("dset"))["delay_1h"].named("there")'
    with pytest.raises(DeclarationError, match="no column 'dset' to look the features up by") as refused:
        compile_project(flights(("dest_recent]", f"dest_recent, {there}]")))
    assert "did you mean dest" in str(refused.value)


class Login(sky.Event):
    id: str = sky.key()
    at: sky.Timestamp = sky.time()
    account: str


def test_a_prefix_is_a_name_and_features_are_known() -> None:
    activity = sky.Features(sky.Source(Login), by="account", n=sky.count(over=["1h"]))
    wrong: Any
    for wrong in ("", "no name", 3, b"x"):
        with pytest.raises(DeclarationError, match="no prefix of a name"):
            activity.of(col("sender"), prefix=wrong)
    with pytest.raises(DeclarationError, match="no windowed feature 'm_1h'"):
        activity.of(col("sender"))["m_1h"]
