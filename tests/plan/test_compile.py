"""The product's project, compiled: each fact by itself, and the same facts in every process."""

import hashlib
import os
import subprocess
import sys
import textwrap

import msgspec
import pytest

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Expression, coalesce, col, looked_up, part
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import (
    LIFETIME,
    AggregateDef,
    FeatureRef,
    GateDef,
    InputDef,
    ProjectDef,
    SearchDef,
    StageDef,
    TriggerDef,
)
from skyloom.kernel.schema import Field, Type
from skyloom.plan import compile_project
from skyloom.plan.windows import hop_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def test_sources(flights):
    definition = compile_project(flights())
    departures, arrivals = definition.sources["departures"], definition.sources["arrivals"]
    assert (departures.name, departures.table, departures.stream) == ("departures", "data/departures.parquet", "departures")
    assert departures.doc == "One scheduled departure: what is known when somebody asks."
    assert (departures.schema.key, departures.schema.time) == ("flight_id", "scheduled")
    assert departures.schema["distance_miles"] == Field("distance_miles", Type.FLOAT)
    assert departures.limits == {}
    assert arrivals.limits == {"arr_delay_min": 2**53 / 10**6}


def test_groups(flights):
    group = compile_project(flights()).groups["carrier_recent"]
    assert (group.source, group.by, group.lateness_ms, group.scales) == ("arrivals", ("carrier",), DAY, {"arr_delay_min": 6})
    assert [(a.name, a.kind, a.column, a.window_ms, a.hop_ms) for a in group.aggregates] == [
        ("delay_1h", "mean", "arr_delay_min", HOUR, 5 * MINUTE),
        ("delay_6h", "mean", "arr_delay_min", 6 * HOUR, 5 * MINUTE),
        ("delay_7d", "mean", "arr_delay_min", 7 * DAY, HOUR),
        ("landings_1h", "count", None, HOUR, 5 * MINUTE),
        ("landings_24h", "count", None, DAY, HOUR),
    ]


def test_inputs(flights):
    model = compile_project(flights()).models["late_arrival"]
    assert [(i.name, i.type) for i in model.inputs] == [
        ("carrier", Type.STRING),
        ("origin", Type.STRING),
        ("dest", Type.STRING),
        ("distance_miles", Type.FLOAT),
        ("scheduled_hour", Type.INT),
        ("scheduled_weekday", Type.INT),
        ("carrier_recent_delay_1h", Type.FLOAT),
        ("carrier_recent_delay_6h", Type.FLOAT),
        ("carrier_recent_delay_7d", Type.FLOAT),
        ("carrier_recent_landings_1h", Type.FLOAT),
        ("carrier_recent_landings_24h", Type.FLOAT),
        ("dest_recent_worst_3h", Type.FLOAT),
    ]
    assert model.inputs[0].expression == col("carrier").expression
    assert model.inputs[4].expression == part("hour", "scheduled").expression
    last = model.inputs[-1]
    assert (last.expression, last.group, last.aggregate, last.entity) == (None, "dest_recent", "worst_3h", ("dest",))


def test_an_expression_over_windows_becomes_an_input_that_reads_them(flights):
    ratio = '(carrier_recent["landings_1h"] / sky.coalesce(carrier_recent["landings_24h"], 1)).named("burst")'
    own = 'carrier_recent["delay_1h"], carrier_recent["delay_6h"].named("slow")'
    project = flights(('sky.hour("scheduled"), sky.weekday("scheduled"), carrier_recent', f"{ratio}, {own}"))
    inputs = {i.name: i for i in compile_project(project).models["late_arrival"].inputs}
    n_1h, n_24h = (looked_up("carrier_recent", name) for name in ("landings_1h", "landings_24h"))
    assert inputs["burst"] == InputDef(
        "burst",
        Type.FLOAT,
        expression=Expression("finite", ((n_1h / coalesce(n_24h, 1.0)).expression,)),
        reads=tuple(FeatureRef("carrier_recent", name, ("carrier",)) for name in ("landings_1h", "landings_24h")),
    )
    of_carrier = {"group": "carrier_recent", "entity": ("carrier",)}
    assert inputs["carrier_recent_delay_1h"] == InputDef(
        "carrier_recent_delay_1h", Type.FLOAT, aggregate="delay_1h", **of_carrier
    )
    assert inputs["slow"] == InputDef("slow", Type.FLOAT, aggregate="delay_6h", **of_carrier)
    assert compile_project(project).models["late_arrival"].groups == ("carrier_recent", "dest_recent")
    again = compile_project(flights(('sky.hour("scheduled"), sky.weekday("scheduled"), carrier_recent', f"{ratio}, {own}")))
    assert content_id(again.models["late_arrival"].inputs) == content_id(tuple(inputs.values()))


def test_a_window_that_is_not_there_is_named_with_the_nearest(flights):
    with pytest.raises(DeclarationError) as raised:
        flights(('sky.hour("scheduled")', 'carrier_recent["delay_2h"].named("d")'))
    assert "there is no windowed feature 'delay_2h'" in str(raised.value)


def test_model(flights):
    model = compile_project(flights()).models["late_arrival"]
    assert (model.requests, model.task, model.metrics) == ("departures", "binary", ("roc_auc",))
    assert (model.label.source, model.label.on, model.label.within_ms) == ("arrivals", "flight_id", 36 * HOUR)
    assert model.label.value == (col("arr_delay_min") > 15).expression
    assert model.function == "flights.py:late_arrival"
    assert model.parameters == {"learning_rate": 0.1, "num_leaves": 31}


def test_loop(flights):
    loop = compile_project(flights()).models["late_arrival"].loop
    assert loop.gates == (
        GateDef("better_than_champion", "roc_auc"),
        GateDef("no_slice_worse", column="carrier", by=0.02),
        GateDef("latency_p99", limit_ms=5.0),
    )
    assert loop.rollout[0] == StageDef("shadow", for_ms=HOUR, units=100)
    assert [(s.kind, s.share) for s in loop.rollout[1:]] == [("canary", s) for s in (1, 5, 25, 50)] + [("full", 100)]
    assert loop.retrain == (TriggerDef("every", 7 * DAY), TriggerDef("performance"), TriggerDef("drift"))
    assert loop.search == SearchDef(20, {"learning_rate": (0.01, 0.3, "log", False), "num_leaves": (8, 128, "linear", True)})
    assert (loop.budget_micros, loop.budget_per) == (20_000_000, "month")


def test_a_model_without_a_loop_is_gated_all_the_same(flights):
    loop = compile_project(flights(("sky.Loop(late_arrival,", "dict(a=late_arrival,"))).models["late_arrival"].loop
    assert loop.gates == (GateDef("better_than_champion", "roc_auc"),)
    assert [stage.kind for stage in loop.rollout] == ["canary"] * 4 + ["full"]


def test_a_regression(flights):
    project = flights(
        ('sky.col("arr_delay_min") > 15', 'sky.col("arr_delay_min")'),
        ("label=late,", 'label=late, task="regression", '),
        ('"roc_auc"', '"mae"'),
    )
    model = compile_project(project).models["late_arrival"]
    assert (model.task, model.metrics) == ("regression", ("mae",))


def test_scales_and_limits_follow_the_declared_precision(flights):
    definition = compile_project(
        flights(
            ("arr_delay_min: float", "arr_delay_min: float = sky.field(precision=1)\n    bags: int"),
            ("worst=", 'n=sky.sum("bags", over=["1h"]), worst='),
        )
    )
    assert definition.groups["dest_recent"].scales == {"bags": 0}  # an extreme has no digits to lose
    assert definition.groups["carrier_recent"].scales == {"arr_delay_min": 1}
    assert definition.sources["arrivals"].limits == {"arr_delay_min": 2**53 / 10, "bags": 2.0**53}


@pytest.mark.parametrize("kind", ["min", "max", "first", "last", "distinct"])
def test_only_what_is_summed_bounds_its_values(flights, kind):
    definition = compile_project(
        flights(
            ("arr_delay_min: float", "arr_delay_min: float\n    bags: int"),
            ("worst=", f'n=sky.{kind}("bags", over=["1h"]), worst='),
        )
    )
    assert definition.sources["arrivals"].limits == {"arr_delay_min": 2**53 / 10**6}


def test_every_kind_of_aggregate_with_its_condition_offset_and_lifetime(flights):
    wanted = (
        'spread=sky.stddev("arr_delay_min", over=["1h", "lifetime"], offset=None, where=sky.col("arr_delay_min") > 0), '
        'newest=sky.last_k("arr_delay_min", 2, over=["1h"], offset="1d", hop="10m"), '
        'share=sky.quantile("arr_delay_min", [0.5, 0.999], over=["1h"]), '
        'kinds=sky.distinct("carrier", over=["lifetime"], exact=100), worst='
    )
    project = compile_project(flights(("worst=", wanted)))
    above = (col("arr_delay_min") > 0).expression
    assert project.groups["dest_recent"].aggregates[:7] == (
        AggregateDef("spread_1h", "stddev", "arr_delay_min", HOUR, 5 * MINUTE, above),
        AggregateDef("spread_lifetime", "stddev", "arr_delay_min", LIFETIME, LIFETIME, above),
        AggregateDef("newest_1_1h", "last_k", "arr_delay_min", HOUR, 10 * MINUTE, None, DAY, 2, 1),
        AggregateDef("newest_2_1h", "last_k", "arr_delay_min", HOUR, 10 * MINUTE, None, DAY, 2, 2),
        AggregateDef("share_p50_1h", "quantile", "arr_delay_min", HOUR, 5 * MINUTE, size=50, q=0.5),
        AggregateDef("share_p99_9_1h", "quantile", "arr_delay_min", HOUR, 5 * MINUTE, size=50, q=0.999),
        AggregateDef("kinds_lifetime", "distinct", "carrier", LIFETIME, LIFETIME, size=100),
    )
    inputs = [column.name for column in project.models["late_arrival"].inputs if column.group == "dest_recent"]
    assert inputs[:3] == ["dest_recent_spread_1h", "dest_recent_spread_lifetime", "dest_recent_newest_1_1h"]


def test_the_digest_is_of_the_function_alone(flights):
    body = textwrap.dedent(
        """
        def late_arrival(X, y, *, learning_rate: float = 0.1, num_leaves: int = 31):
            from lightgbm import LGBMClassifier
            return LGBMClassifier(learning_rate=learning_rate, num_leaves=num_leaves).fit(X, y)
        """
    ).strip()
    digests = [
        compile_project(flights(*edits)).models["late_arrival"].source_digest
        for edits in ([], [('sky.hour("scheduled"), ', "")], [(".fit(X, y)", ".fit( X, y)")])
    ]
    assert digests[0] == digests[1] == hashlib.sha256(body.encode()).hexdigest()
    assert digests[2] != digests[0]


def test_parameters_are_the_scalars_by_name(flights):
    project = flights(("num_leaves: int = 31", 'num_leaves: int = 31, flag=True, kind="a", depth=None, xs=()'))
    parameters = compile_project(project).models["late_arrival"].parameters
    assert parameters == {"learning_rate": 0.1, "num_leaves": 31, "flag": True, "kind": "a"}


@pytest.mark.parametrize(
    ("window", "hop"),
    [
        (12 * DAY, DAY),
        (12 * DAY - HOUR, HOUR),
        (12 * HOUR, HOUR),
        (12 * HOUR - 5 * MINUTE, 5 * MINUTE),
        (5 * MINUTE, 5 * MINUTE),
        (4 * MINUTE, MINUTE),
        (90_000, 1000),
        (500, 1000),
    ],
)
def test_hops(window: int, hop: int):
    assert hop_of(window) == hop


def test_compiling_twice_gives_the_same(flights):
    assert compile_project(flights()) == compile_project(flights())


def test_the_recorded_form_comes_back_as_it_was(flights):
    definition = compile_project(flights())
    recorded = msgspec.json.decode(msgspec.json.encode(definition), type=ProjectDef)
    assert recorded == definition
    assert content_id(recorded) == content_id(definition)


def test_the_content_id_is_the_same_in_every_process(flights, tmp_path):
    here = content_id(compile_project(flights()))
    code = (
        "import sys, pathlib; from skyloom.plan import compile_project; from skyloom.spec.project import load;"
        "from skyloom.kernel.ids import content_id; print(content_id(compile_project(load(pathlib.Path(sys.argv[1])))))"
    )
    for seed in ("1", "4711"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(tmp_path)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == here


def test_all_problems_come_together(flights):
    project = flights(('by="carrier"', 'by="carier"'), ('over=["3h"]', 'over=["3h3m"]'), ('"roc_auc"', '"roc"'))
    with pytest.raises(DeclarationError) as caught:
        compile_project(project)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 problems in flights.py"
    assert lines[1] == "  carrier_recent: there is no column 'carier'; did you mean carrier?"
    assert lines[2].startswith("  dest_recent.worst: the window 3h3m is no multiple of its hop 5m; say over=")
    assert lines[3].startswith(
        "  late_arrival, better_than_champion: 'roc' is no metric of a binary model; did you mean roc_auc"
    )
    assert lines[-1] == "  next:  mend flights.py"
