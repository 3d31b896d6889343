"""Every check: one edit of the right project, and what its author reads."""

import pytest

from skyloom.plan.checks import problems
from skyloom.plan.checks.all import CHECKS

GATES = 'gates=[sky.better_than_champion("roc_auc"), sky.no_slice_worse("carrier", by=0.02), sky.latency_p99("5ms")]'
CANARY = "sky.canary(1, 5, 25, 50)"
COLUMNS = 'departures["carrier", "origin", "dest", "distance_miles"]'
ROLLOUT = f'rollout=[sky.shadow("1h"), {CANARY}, sky.full()]'
FUNCTION = "def late_arrival(X, y, *, learning_rate: float = 0.1, num_leaves: int = 31):"
LATE = 'sky.col("arr_delay_min") > 15'
OWN = 'late = sky.Label(arrivals, on="flight_id"'

CASES = {
    "one_key: none": (
        [("flight_id: str = sky.key()\n    landed", "flight_id: str\n    landed")],
        "Arrival: it has no key column",
    ),
    "one_key: two": (
        [("landed: sky.Timestamp", "other: str = sky.key()\n    landed: sky.Timestamp")],
        "it has several key columns: flight_id, other",
    ),
    "one_key: float": (
        [("flight_id: str = sky.key()", "flight_id: float = sky.key()")],
        "Departure.flight_id: a key cannot be a float",
    ),
    "one_key: null": (
        [("flight_id: str = sky.key()\n    landed", "flight_id: str | None = sky.key()\n    landed")],
        "a key cannot be a string that may be missing",
    ),
    "one_time: none": ([("landed: sky.Timestamp = sky.time()", "landed: sky.Timestamp")], "Arrival: it has no time column"),
    "one_time: text": (
        [("landed: sky.Timestamp = sky.time()", "landed: str = sky.time()")],
        "Arrival.landed: a time cannot be a string",
    ),
    "one_time: null": (
        [("landed: sky.Timestamp", "landed: sky.Timestamp | None")],
        "a time cannot be a timestamp that may be missing",
    ),
    "names_by_more_than_case": (
        [("    origin: str\n", "    origin: str\n    Origin: str\n")],
        "columns 'origin' and 'Origin' differ only in case",
    ),
    "events.names_are_free": (
        [("    origin: str\n", "    origin: str\n    _offset: int\n")],
        "Departure._offset: names that begin with _",
    ),
    "features.columns_exist: by": (
        [('by="carrier"', 'by="carier"')],
        "carrier_recent: there is no column 'carier'; did you mean carrier?",
    ),
    "features.columns_exist": (
        [('sky.max("arr_delay_min"', 'sky.max("arr_delay"')],
        "dest_recent.worst: there is no column 'arr_delay'; did you mean arr_delay_min",
    ),
    "features.columns_exist: count": (
        [("sky.count(over", 'sky.count("nothing", over')],
        "carrier_recent.landings: there is no column 'nothing'",
    ),
    "entities_are_names": ([('by="dest"', 'by="arr_delay_min"')], "dest_recent: by='arr_delay_min' is a float"),
    "tables.entities_are_names: unknown": (
        [("late = sky.Label", 'places = sky.Table(arrivals, by="place")\nlate = sky.Label')],
        "places: there is no column 'place'",
    ),
    "tables.entities_are_names": (
        [("late = sky.Label", 'delays = sky.Table(arrivals, by="arr_delay_min")\nlate = sky.Label')],
        "delays: by='arr_delay_min' is a float",
    ),
    "tables_have_columns": (
        [("late = sky.Label", 'bare = sky.Table(arrivals, by=("carrier", "dest", "arr_delay_min"))\nlate = sky.Label')],
        "bare: its rows hold nothing but their key and their time",
    ),
    "rows_are_found": (
        [
            ("    dest: str\n    arr_delay_min", "    dest: str\n    gate: str\n    arr_delay_min"),
            ("late = sky.Label", 'gates = sky.Table(arrivals, by="gate")\nlate = sky.Label'),
            ('sky.hour("scheduled")', 'sky.hour("scheduled"), gates["arr_delay_min"]'),
        ],
        "late_arrival, gates: its requests have no column 'gate' to look a row up by",
    ),
    "rows_are_found: type": (
        [
            ("late = sky.Label", 'airports = sky.Table(arrivals, by="dest")\nlate = sky.Label'),
            ('sky.hour("scheduled")', 'sky.hour("scheduled"), airports.of(sky.col("distance_miles"))["carrier"]'),
        ],
        "'distance_miles' is a float, and 'dest' in the table's rows a string",
    ),
    "columns_exist: of a table": (
        [
            ("late = sky.Label", 'airports = sky.Table(arrivals, by="dest")\nlate = sky.Label'),
            ('sky.hour("scheduled")', 'sky.hour("scheduled"), airports["carier"]'),
        ],
        "late_arrival: there is no column 'airports.carier'; did you mean airports.carrier",
    ),
    "entities_are_in_requests: reached": (
        [
            ("late = sky.Label", 'airports = sky.Table(arrivals, by="dest")\nlate = sky.Label'),
            ("carrier_recent, dest_recent]", 'carrier_recent.of(airports["arr_delay_min"]), dest_recent]'),
        ],
        "'airports.arr_delay_min' is a float in the requests and a string in the events",
    ),
    "aggregates_of_numbers": (
        [('sky.max("arr_delay_min"', 'sky.max("carrier"')],
        "max needs numbers, and 'carrier' is a string",
    ),
    "aggregates_of_numbers: in order": (
        [('sky.max("arr_delay_min"', 'sky.last("dest"')],
        "dest_recent.worst: last needs numbers or times, and 'dest' is a string; for the newest row, whatever its types, "
        "declare sky.Table(SOURCE, by='dest') and take its ['dest']",
    ),
    "conditions_hold_or_not": (
        [('over=["3h"]', 'over=["3h"], where=sky.col("arr_delay_min") + 1')],
        "dest_recent.worst: where is a float, and not true or false",
    ),
    "conditions_hold_or_not: column": (
        [('over=["3h"]', 'over=["3h"], where=sky.col("arr_delay") > 1')],
        "dest_recent.worst: there is no column 'arr_delay'; did you mean arr_delay_min",
    ),
    "conditions_hold_or_not: types": (
        [('over=["3h"]', 'over=["3h"], where=sky.col("dest") > 1')],
        "dest_recent.worst: where: a string cannot be compared with a int",
    ),
    "windows_of_whole_hops": ([('over=["3h"]', 'over=["3h7m"]')], '3h7m is no multiple of its hop 5m; say over=["3h10m"]'),
    "windows_of_whole_hops: hop": ([('over=["3h"]', 'over=["3h"], hop="50m"')], "3h is no multiple of its hop 50m"),
    "windows_of_whole_hops: short": ([('over=["3h"]', 'over=["500ms"]')], "500ms is no multiple of its hop 1s"),
    "windows_once": ([('over=["3h"]', 'over=["3h", "3h"]')], "2 features are called dest_recent_worst_3h"),
    "labels.columns_exist: on": (
        [('on="flight_id"', 'on="flight"')],
        "late: there is no column 'flight'; did you mean flight_id?",
    ),
    "labels.columns_exist": ([(LATE, 'sky.col("delay") > 15')], "late: there is no column 'delay'"),
    "labels.columns_exist: types": ([(LATE, 'sky.col("carrier") > 15')], "late: a string cannot be compared with a int"),
    "labels.columns_exist: windows": (
        [
            ("late = sky.Label", "recent = sky.Features(arrivals, by='dest', n=sky.count(over=['1h']))\nlate = sky.Label"),
            (LATE, 'recent["n_1h"] > 15'),
        ],
        "late: a label is made of windowed features",
    ),
    "labels.columns_exist: inline": (
        [("label=late", 'label=sky.Label(arrivals, on="gone", value=sky.col("arr_delay_min") > 1, within="1h")')],
        "the label of late_arrival: there is no column 'gone'",
    ),
    "logbooks.columns_exist": (
        [("label=late", 'label=late, logbook=sky.Logbook(redact=["orgin"])')],
        "late_arrival: there is no column 'orgin'; did you mean origin?",
    ),
    "key_and_time_are_kept: key": (
        [("label=late", 'label=late, logbook=sky.Logbook(hashed=["flight_id"])')],
        "late_arrival: flight_id is the key of its requests: a logbook cannot leave it out",
    ),
    "key_and_time_are_kept: time": (
        [("label=late", 'label=late, logbook=sky.Logbook(redact=["scheduled"])')],
        "late_arrival: scheduled is the time of its requests",
    ),
    "hashes_are_of_texts": (
        [("label=late", 'label=late, logbook=sky.Logbook(hashed=["distance_miles"])')],
        "late_arrival: distance_miles is a float: only texts are hashed; redact=['distance_miles'] instead",
    ),
    "joins_the_key: own": (
        [(OWN, 'late = sky.Label(departures, on="origin"'), (LATE, 'sky.col("distance_miles") > 1')],
        "instead of their key 'flight_id'; say on=\"flight_id\"",
    ),
    "joins_the_key: type": (
        [('on="flight_id"', 'on="arr_delay_min"')],
        "the label joins 'arr_delay_min', a float, with the key 'flight_id', a string",
    ),
    "value_fits_task: binary": (
        [(LATE, 'sky.col("arr_delay_min")')],
        'the label is a float, which task="binary" cannot learn',
    ),
    "value_fits_task: regression": (
        [("label=late,", 'label=late, task="regression",'), ('"roc_auc"', '"mae"')],
        'the label is a bool, which task="regression" cannot learn',
    ),
    "outcome_is_no_input": (
        [(OWN, 'late = sky.Label(departures, on="flight_id"'), (LATE, 'sky.col("distance_miles") > 1')],
        "the feature 'distance_miles' is what the label is made of",
    ),
    "has_features": (
        [
            (
                COLUMNS
                + ',\n                     sky.hour("scheduled"), sky.weekday("scheduled"), carrier_recent, dest_recent',
                "",
            )
        ],
        "late_arrival: it has no features",
    ),
    "models.columns_exist": (
        [(COLUMNS, 'departures["carier"]')],
        "late_arrival: there is no column 'carier'; did you mean carrier?",
    ),
    "models.columns_exist: part": (
        [('sky.hour("scheduled")', 'sky.hour("schedule")')],
        "late_arrival: there is no column 'schedule'; did you mean scheduled?",
    ),
    "columns_of_its_requests": (
        [(COLUMNS, 'arrivals["dest"]')],
        "late_arrival: dest are columns of another source than its requests",
    ),
    "columns_have_names": (
        [('sky.hour("scheduled")', 'sky.col("distance_miles") * 2')],
        "the feature (distance_miles * 2) has no name",
    ),
    "columns_have_names: of windows": (
        [('sky.hour("scheduled")', 'carrier_recent["landings_1h"] / carrier_recent["landings_24h"]')],
        "the feature (carrier_recent.landings_1h / carrier_recent.landings_24h) has no name",
    ),
    "expressions_read_something": (
        [('sky.hour("scheduled")', 'sky.where(True, 1, 2).named("one")')],
        "the feature where(True, 1, 2) is a constant",
    ),
    "models.columns_exist: within an expression": (
        [('sky.hour("scheduled")', '(sky.col("distance_mile") / carrier_recent["delay_1h"]).named("ratio")')],
        "late_arrival: there is no column 'distance_mile'; did you mean distance_miles?",
    ),
    "columns_can_be_learned: types": (
        [('sky.hour("scheduled")', '(sky.col("origin") + carrier_recent["delay_1h"]).named("sum")')],
        "(origin + carrier_recent.delay_1h): + needs numbers, not a string and a float",
    ),
    "entities_are_in_requests: of an expression": (
        [
            ("    dest: str\n    distance", "    desti: str\n    distance"),
            (COLUMNS, 'departures["carrier"]'),
            ("carrier_recent, dest_recent]", '(dest_recent["worst_3h"] * 2).named("twice")]'),
        ],
        "dest_recent: its requests have no column 'dest' to look the features up by; did you mean desti",
    ),
    "names_once: of an expression": (
        [('sky.hour("scheduled")', '(sky.col("distance_miles") * 2).named("carrier")')],
        "several features are called carrier",
    ),
    "columns_can_be_learned": (
        [(COLUMNS, 'departures["scheduled"]')],
        'the feature scheduled is a moment; take sky.hour("scheduled")',
    ),
    "columns_can_be_learned: part": (
        [('sky.hour("scheduled")', 'sky.hour("carrier")')],
        "hour(carrier, UTC): hour needs a time, not a string",
    ),
    "entities_are_in_requests": (
        [("    dest: str\n    distance", "    desti: str\n    distance"), (COLUMNS, 'departures["carrier"]')],
        "dest_recent: its requests have no column 'dest' to look the features up by; did you mean desti",
    ),
    "entities_are_in_requests: type": (
        [("    dest: str\n    distance", "    dest: int\n    distance")],
        "'dest' is a int in the requests and a string in the events",
    ),
    "names_once": ([(COLUMNS, 'departures["carrier", "carrier"]')], "several features are called carrier"),
    "names_once: parts": (
        [('sky.hour("scheduled")', 'sky.hour("scheduled"), sky.hour("scheduled", tz="America/New_York")')],
        "several features are called scheduled_hour",
    ),
    "names_once: across": (
        [
            ("    origin: str\n", "    origin: str\n    dest_recent_worst_3h: float\n"),
            (COLUMNS, 'departures["dest_recent_worst_3h"]'),
        ],
        "several features are called dest_recent_worst_3h",
    ),
    "models.names_are_free": (
        [("    origin: str\n", "    origin: str\n    label: str\n"), (COLUMNS, 'departures["label"]')],
        "a feature cannot be called 'label'",
    ),
    "function_takes_x_and_y": (
        [(FUNCTION, "def late_arrival(X, *, learning_rate=0.1, num_leaves=31):")],
        "cannot be called as late_arrival(X, y): too many positional arguments",
    ),
    "function_takes_x_and_y: no default": (
        [(FUNCTION, "def late_arrival(X, y, *, depth, learning_rate=0.1, num_leaves=31):")],
        "cannot be called as late_arrival(X, y): missing a required",
    ),
    "metrics_exist": (
        [("label=late,", 'label=late, metrics=["roc_acu"],')],
        "late_arrival: 'roc_acu' is no metric of a binary model; did you mean roc_auc",
    ),
    "search_fits_function": (
        [("num_leaves=(8, 128)", "num_leafs=(8, 128)")],
        "search: the function has no parameter 'num_leafs' with a number as its default; did you mean num_leaves?",
    ),
    "search_fits_function: default": (
        [("num_leaves: int = 31", "num_leaves=None")],
        "the function has no parameter 'num_leaves' with a number as its default",
    ),
    "search_fits_function: whole": (
        [("num_leaves=(8, 128)", "num_leaves=(8, 128.5)")],
        "num_leaves has a whole number as its default, and bounds that are none",
    ),
    "has_gates": ([(GATES, "gates=[]")], "late_arrival: its loop has no gates"),
    "gates_name_metrics": (
        [(GATES, 'gates=[sky.at_least("r2", 0.5)]')],
        "late_arrival, at_least: 'r2' is no metric of a binary model",
    ),
    "gates_name_metrics: floor": (
        [(GATES, 'gates=[sky.at_least("brier", 0.1)]')],
        "less brier is better: a floor says nothing",
    ),
    "gates_name_columns": (
        [('no_slice_worse("carrier"', 'no_slice_worse("carriers"')],
        "late_arrival, no_slice_worse: there is no column 'carriers'; did you mean carrier?",
    ),
    "gates_name_columns: type": (
        [('no_slice_worse("carrier"', 'no_slice_worse("distance_miles"')],
        "'distance_miles' is a float: it has no slices",
    ),
    "gates_have_bounds": ([("by=0.02", "by=-0.02")], "by=-0.02 is no margin"),
    "gates_have_bounds: nan": ([(GATES, 'gates=[sky.at_least("roc_auc", float("nan"))]')], "by=nan is no margin"),
    "stages_grow: order": ([(CANARY, "sky.canary(5, 1)")], "canary shares 5, 1 do not grow"),
    "stages_grow: same": ([(CANARY, "sky.canary(5), sky.canary(5)")], "canary shares 5, 5 do not grow"),
    "stages_grow: outside": ([(CANARY, "sky.canary(50, 100)")], "canary shares 50, 100 are not all between 0 and 100"),
    "stages_grow: zero": ([(CANARY, "sky.canary(0, 5)")], "canary shares 0, 5 are not all between 0 and 100"),
    "stages_grow: nan": ([(CANARY, 'sky.canary(float("nan"))')], "canary shares nan are not all between 0 and 100"),
    "stages_grow: fine": ([(CANARY, "sky.canary(0.001)")], "finer than 0.01 percent"),
    "stages_grow: units": ([(CANARY, "sky.canary(1, units=-1)")], "negative number of units"),
    "stages_grow: end": ([(ROLLOUT, "rollout=[sky.full(), sky.canary(1)]")], "the stages go full -> canary"),
    "stages_grow: none": ([(ROLLOUT, "rollout=[]")], "the stages go nowhere"),
    "stages_grow: shadow": (
        [(ROLLOUT, 'rollout=[sky.canary(1), sky.shadow("1h"), sky.canary(2), sky.full()]')],
        "the stages go canary -> shadow -> canary -> full",
    ),
}


def test_the_right_project_has_no_problems(flights):
    assert problems(flights()) == []


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_told_once(flights, case: str):
    edits, said = CASES[case]
    found = problems(flights(*edits))
    texts = [f"{problem.where}: {problem.what}; {problem.fix}" for problem in found]
    assert sum(said in text for text in texts) == 1, texts
    assert len(set(texts)) == len(texts)
    assert all(problem.where and problem.what and problem.fix for problem in found)


@pytest.mark.parametrize("shares", ["1, 5, 25, 50", "0.01, 0.07, 0.29, 99.99"])
def test_shares_of_a_hundredth_of_a_percent_are_fine(flights, shares: str):
    assert problems(flights((CANARY, f"sky.canary({shares})"))) == []


def test_every_check_has_a_case():
    cases = {case.partition(":")[0].rpartition(".")[2] for case in CASES}
    assert {check.__name__ for check in CHECKS} == cases
