"""The eight properties that features must have, by the tests that hold each; and those that no other file states.

A name here that no test has any more is an error: nothing is held by what is gone.
"""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features import oracle_sql
from tests.features.histories import GROUPS, ORIGIN, SOURCE, History, histories
from tests.features.oracle import Happened
from tests.features.replay import ENTITIES, Served, joined, joined_by_time, play
from tests.features.test_zero_skew import play_fresh

from skyloom.features.algebra.program import _KINDS
from skyloom.features.offline import pit
from skyloom.kernel.records.definitions import LIFETIME, AggregateDef
from skyloom.kernel.units import HOUR, MINUTE

TESTS = Path(__file__).parents[1]
HELD: dict[str, tuple[str, ...]] = {
    "1 merging is an exact monoid, with inverses where they are claimed": (
        "features/test_algebra.py::test_merging_is_a_commutative_monoid_to_the_last_bit",
        "features/test_algebra.py::test_counts_sums_squares_and_buckets_can_be_taken_back",
    ),
    "2 served, joined, plain Python and SQL are equal": (
        "features/test_zero_skew.py::test_stream_training_set_and_both_oracles_agree_on_every_value",
        "features/test_zero_skew.py::test_the_embedded_store_serves_the_same",
        "features/test_redis.py::test_a_redis_holds_the_same_bytes_and_serves_the_same_values",
        "features/test_kernel.py::test_folding_and_reading_compiled_and_not",
        "features/test_algebra.py::test_every_kind_is_what_naive_python_makes_of_all_values",
    ),
    "3 order, repetition and batches change nothing": (
        "features/test_zero_skew.py::test_order_and_repetition_change_no_value",
        "features/test_zero_skew.py::test_the_store_holds_the_same_bytes_whatever_the_batches_and_restarts",
        "features/test_algebra.py::test_tiles_depend_on_the_events_and_not_on_their_order_or_batches",
        "features/test_fold_horizon.py::test_rows_are_judged_as_a_plain_loop_judges_them",
    ),
    "4 killed anywhere, or owned twice, it converges to the same bytes": (
        "features/test_crash.py::test_a_killed_worker_loses_nothing_and_counts_nothing_twice",
        "features/test_redis.py::test_workers_that_are_killed_and_workers_side_by_side_end_up_with_the_same_bytes",
        "runtime/test_worker_crash.py::test_a_worker_killed_at_any_write_point_leaves_what_an_undisturbed_one_leaves",
        "runtime/test_worker_mutants.py::test_a_worker_without_any_fence_is_found",
    ),
    "5 a base may be published at any legal moment": (
        "features/test_fold_building.py::test_a_new_group_is_built_while_the_stream_goes_on",
        "features/test_fold_building.py::test_a_group_is_built_again_while_it_serves",
        "features/test_zero_skew.py::test_a_group_built_from_history_is_the_group_folded_live",
    ),
    "6 edges": (
        "features/test_properties.py::test_a_window_begins_at_its_edge_to_the_millisecond",
        "features/test_kernel.py::test_tiles_before_1970_are_floored_not_cut",
        "features/test_kernel.py::test_a_sum_that_grows_beyond_62_bits_is_an_error_in_a_tile_and_across_tiles",
        "features/test_algebra.py::test_squares_that_grow_beyond_124_bits_are_an_error_in_a_tile_and_across_tiles",
        "features/test_algebra.py::test_huge_tiny_and_endless_values_have_their_places",
        "features/test_zero_skew.py::test_no_events_are_null_features_and_counts_of_zero",
    ),
    "7 the future alters no label, what is late only what is asked later": (
        "features/test_properties.py::test_what_comes_later_alters_no_label_of_the_past",
        "features/test_properties.py::test_what_comes_late_alters_what_is_asked_from_then_on",
        "features/test_properties.py::test_as_event_nothing_of_the_future_alters_a_label",
    ),
    "8 what was served is recomputed all the time": (
        "runtime/test_consistency.py::test_a_corrupt_tile_is_an_incident",
        "runtime/test_consistency.py::test_a_sound_run_has_no_incident_and_no_round_repeats_another",
    ),
}


@pytest.mark.parametrize("property_", HELD)
def test_each_property_is_held_by_tests_that_are_there(property_: str) -> None:
    for name in HELD[property_]:
        file, test = name.split("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert test in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], name


def all_aggregates() -> list[AggregateDef]:
    return [aggregate for group in GROUPS for aggregate in group.aggregates]


def test_the_histories_are_asked_for_every_kind_and_every_option() -> None:
    assert {aggregate.kind for aggregate in all_aggregates()} == set(_KINDS)
    wide = {"first", "last", "first_k", "last_k", "top_k", "distinct", "quantile"}
    for kinds in (wide, set(_KINDS) - wide):
        mine = [aggregate for aggregate in all_aggregates() if aggregate.kind in kinds]
        assert any(aggregate.where is not None for aggregate in mine)
        assert any(aggregate.offset_ms for aggregate in mine)
        assert any(aggregate.window_ms == LIFETIME for aggregate in mine)
        assert any(len(group.by) > 1 and aggregate in mine for group in GROUPS for aggregate in group.aggregates)
    assert {len(group.by) for group in GROUPS} == {1, 2}
    conditions = {(group.name, each.name) for group in GROUPS for each in group.aggregates if each.where is not None}
    assert conditions == set(oracle_sql.CONDITIONS)


def event(offset: int, at: int, appended: int, **row: Any) -> Happened:
    told = {"id": f"k{offset}", "at": at, "who": "UA", "desk": 7, "x": 1.5, "n": 1, "ok": True, "y": 0.0}
    return Happened(offset, appended, False, at, told | row)


@pytest.mark.parametrize("origin", [ORIGIN, 0, -40_000 * HOUR])
@pytest.mark.parametrize(("near", "count"), [(-1, None), (0, 1.0), (1, 1.0)])
def test_a_window_begins_at_its_edge_to_the_millisecond(origin: int, near: int, count: float | None) -> None:
    """An hour by five minutes, asked 4:59.999 behind a step: the window begins an hour before that step."""
    t = origin + HOUR + 5 * MINUTE - 1
    asked = [Served(GROUPS[0], ("UA",), t, 1, None)]
    told = [event(0, origin + near, max(t, ORIGIN))]
    mean = joined(play_fresh(told[0]), asked, np.zeros(1, np.int64), [1])[0][1]
    assert mean == (None if count is None else 1.5)


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(1, 4))
def test_what_comes_later_alters_no_label_of_the_past(history: History, cut: int) -> None:
    """As available: labels of moments before the rest was folded are what they were without it; by offset, those that were
    served before it."""
    batches = [[each._replace(imported=False) for each in batch] for batch in history.batches]
    whole, every = History(batches, history.questions), list(range(len(batches)))
    before = play(History(batches[:cut], history.questions), every)
    after = play(whole, every)
    assert after.served[: len(before.served)] == before.served
    rest = batches[cut][0].appended if cut < len(batches) else 2**60
    past = [answer._replace(t=min(answer.t, rest - 1)) for answer in before.served]
    asked = [before._replace(served=past), after._replace(served=past)]
    assert joined_by_time(asked[0]) == joined_by_time(asked[1])


def test_what_comes_late_alters_what_is_asked_from_then_on() -> None:
    """The second event happened before the first label, and came between the two."""
    times = [(0, 0), (-10 * MINUTE, 20 * MINUTE), (30 * MINUTE, 30 * MINUTE)]
    batches = [[event(i, ORIGIN + at, ORIGIN + appended)] for i, (at, appended) in enumerate(times)]
    played = play(History(batches, []), [1, 2])
    asked = [Served(GROUPS[0], ("UA",), ORIGIN + t * MINUTE, 0, None) for t in (5, 19, 20, 29, 30)]
    sums = [row[0] for row in joined_by_time(played._replace(served=asked))]
    assert sums == [1.5, 1.5, 3.0, 3.0, 4.5]


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 40))
def test_as_event_nothing_of_the_future_alters_a_label(history: History, cut: int) -> None:
    fresh = play(history, []).fresh
    order = pit.by_event(fresh, SOURCE)
    t = int(np.sort(order)[min(cut, len(order) - 1)])
    asked = [Served(group, entity, t, 0, None) for group in GROUPS for entity in ENTITIES[group.by]]
    past = fresh.filter(pa.array(order < t))
    assert joined(fresh, asked, order, [t] * len(asked)) == joined(past, asked, pit.by_event(past, SOURCE), [t] * len(asked))
