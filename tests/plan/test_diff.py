"""What would change: none for equals, some for everything else, in words."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import (
    AggregateDef,
    FeatureGroupDef,
    GateDef,
    InputDef,
    LabelDef,
    LogbookDef,
    LoopDef,
    ModelDef,
    ProjectDef,
    SearchDef,
    SourceDef,
    StageDef,
    TriggerDef,
)
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.plan import compile_project, diff, explain

names = st.sampled_from(["a", "b", "c"])
millis = st.integers(0, 10**6)
few = st.floats(0, 1)
fields = st.builds(Field, names, st.sampled_from(Type), st.booleans(), st.integers(0, 9))
schemas = st.builds(Schema, st.lists(fields, max_size=3, unique_by=lambda f: f.name).map(tuple), names, names)
maybe = st.none() | names
columns = st.lists(names, min_size=1, max_size=2, unique=True).map(tuple)
sources = st.builds(SourceDef, names, schemas, maybe, maybe, millis, names, st.dictionaries(names, few, max_size=2))
aggregates = st.builds(AggregateDef, names, st.sampled_from(["sum", "count"]), maybe, millis, millis)
groups = st.builds(
    FeatureGroupDef,
    names,
    names,
    columns,
    st.lists(aggregates, max_size=3, unique_by=lambda a: a.name).map(tuple),
    st.dictionaries(names, st.integers(0, 9), max_size=2),
    millis,
    names,
)
expressions = names.map(lambda name: col(name).expression) | st.builds(lambda n, v: (col(n) > v).expression, names, millis)
inputs = st.builds(InputDef, names, st.sampled_from(Type), expression=expressions) | st.builds(
    InputDef, names, st.sampled_from(Type), group=names, aggregate=names, entity=columns
)
gates = st.lists(st.builds(GateDef, names, maybe, maybe, few, st.none() | few), max_size=2).map(tuple)
stages = st.lists(st.builds(StageDef, st.sampled_from(["shadow", "canary"]), few, millis, millis), max_size=2).map(tuple)
triggers = st.lists(st.builds(TriggerDef, st.sampled_from(["every", "drift"]), millis), max_size=2).map(tuple)
space = st.dictionaries(names, st.tuples(few, few, names, st.booleans()), max_size=2)
loops = st.builds(
    LoopDef, gates, stages, triggers, st.none() | st.builds(SearchDef, millis, space), st.none() | millis, maybe
)
models = st.builds(
    ModelDef,
    names,
    names,
    st.lists(inputs, max_size=3, unique_by=lambda i: i.name).map(tuple),
    st.builds(LabelDef, names, names, expressions, millis),
    names,
    names,
    st.dictionaries(names, few | names | st.booleans(), max_size=2),
    st.lists(names, max_size=2).map(tuple),
    names,
    loops,
    names,
    logbook=st.builds(LogbookDef, few, columns, columns, st.sampled_from(["drop", "refuse"])),
    max_latency_ms=millis,
)


def _by_name(values: Any) -> Any:
    return st.lists(values, max_size=2, unique_by=lambda v: v.name).map(lambda found: {v.name: v for v in found})


projects = st.builds(ProjectDef, names, _by_name(sources), _by_name(groups), _by_name(models))


@given(projects)
def test_equals_do_not_differ(project: ProjectDef):
    again = msgspec.json.decode(msgspec.json.encode(project), type=ProjectDef)
    assert diff(project, again) == []
    assert explain(diff(project, again)) == "nothing would change"


@given(projects, projects)
def test_others_do(before: ProjectDef, after: ProjectDef):
    changes = diff(before, after)
    assert bool(changes) == (before != after)
    assert all(change.consequence and (change.detail or change.kind != "change") for change in changes)
    assert {(c.what, c.name) for c in changes if c.kind == "add"} == {
        (c.what, c.name) for c in diff(after, before) if c.kind == "remove"
    }


@given(projects, st.sampled_from(["sources", "groups", "models"]), st.data())
def test_one_changed_part_is_seen(project: ProjectDef, kind: str, data: st.DataObject):
    held = getattr(project, kind)
    if not held:
        return
    name = data.draw(st.sampled_from(sorted(held)))
    other = data.draw({"sources": sources, "groups": groups, "models": models}[kind])
    part = data.draw(st.sampled_from([field for field in other.__struct_fields__ if field != "name"]))
    changed = msgspec.structs.replace(held[name], **{part: getattr(other, part)})
    after = msgspec.structs.replace(project, **{kind: {**held, name: changed}})
    changes = diff(project, after)
    assert bool(changes) == (getattr(changed, part) != getattr(held[name], part))
    assert {(change.kind, change.name) for change in changes} <= {("change", name)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"1h", "6h", "7d"',
            '"1h", "7d"',
            "~ features carrier_recent  feature delay_6h removed (was mean of arr_delay_min over 6h by 5m)",
        ),
        (
            'over=["3h"]',
            'over=["4h"]',
            "feature worst_4h added: max of arr_delay_min over 4h by 5m\n    rebuilds 1 feature",
        ),
        (
            'by="dest", worst',
            'by="dest", lateness="2d", worst',
            "~ features dest_recent  lateness: 1d -> 2d\n    rebuilds 1 feature",
        ),
        (
            "arr_delay_min: float",
            "arr_delay_min: float = sky.field(precision=2)",
            "precision of arr_delay_min: 6 digits -> 2 digits\n    rebuilds 3 features",
        ),
        (
            "    origin: str\n",
            "    origin: str\n    plane: str | None\n",
            "~ source departures  column plane added: string, may be missing",
        ),
        (" > 15", " > 30", "label: (arr_delay_min > 15) of arrivals on flight_id within 1d12h -> (arr_delay_min > 30) of"),
        (
            "num_leaves: int = 31",
            "num_leaves: int = 63",
            "parameter num_leaves: 31 -> 63\n    the next training uses it; v3 keeps serving its own definition",
        ),
        ("by=0.02", "by=0.01", "no_slice_worse carrier 0.01; latency_p99 5 ms\n    the next version must follow it"),
        ("sky.usd(20", "sky.usd(30", "budget: 20.00 USD per month -> 30.00 USD per month\n    applies at once"),
        ("dest_recent = ", "dest_recently = dest_recent = ", "+ features dest_recently\n    builds 1 feature"),
        ('departures["carrier", "origin"', 'departures["origin", "carrier"', "~ model late_arrival  the order of its parts"),
    ],
)
def test_changes_in_words(flights, old: str, new: str, said: str):
    before = compile_project(flights())
    after = compile_project(flights((old, new)))
    text = explain(diff(before, after, {"late_arrival": 3}))
    assert said in text, text


def test_everything_is_new_at_first(flights):
    changes = diff(None, compile_project(flights()))
    assert {change.kind for change in changes} == {"add"}
    assert [f"{change.what} {change.name}" for change in changes] == [
        "source departures",
        "source arrivals",
        "features carrier_recent",
        "features dest_recent",
        "model late_arrival",
    ]
    assert changes[2].consequence == "builds 5 features"


def test_a_removed_model_serves_on(flights):
    before = compile_project(flights())
    (change,) = diff(before, msgspec.structs.replace(before, models={}), {"late_arrival": 2})
    assert (change.kind, change.consequence) == ("remove", "v2 serves until it is taken out of the release")
