"""No row of the holdout is as old as a row of the training part."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.errors import TrainingError
from skyloom.training.split import ENOUGH, check_labels, split_rows


@settings(max_examples=150, deadline=None)
@given(moments=st.lists(st.integers(0, 30), min_size=1, max_size=200), after=st.one_of(st.none(), st.integers(-5, 35)))
def test_a_split_is_ordered_by_time_and_complete(moments, after):
    times = np.sort(np.array(moments, np.int64))
    if times[0] == times[-1]:
        with pytest.raises(TrainingError, match="one moment"):
            split_rows(times, after)
        return
    split = split_rows(times, after)
    assert split.train_rows + split.holdout_rows == times.size
    assert split.train_rows > 0
    assert split.holdout_rows > 0
    assert times[: split.train_rows].max() < split.cut_ms <= times[split.train_rows :].min()
    assert (split.first_ms, split.last_ms) == (times[0], times[-1])


def test_the_holdout_is_the_last_fifth():
    split = split_rows(np.arange(1000))
    assert (split.train_rows, split.holdout_rows, split.cut_ms) == (800, 200, 800)


@pytest.mark.parametrize(("newer", "held_out"), [(ENOUGH, ENOUGH), (ENOUGH - 1, 400)])
def test_what_the_champion_never_saw_is_held_out_when_it_is_enough(newer, held_out):
    times = np.arange(2000)
    split = split_rows(times, after_ms=2000 - newer - 1)
    assert split.holdout_rows == held_out


def test_a_champion_older_than_all_rows_leaves_something_to_fit_on():
    assert split_rows(np.arange(1000), after_ms=-1).train_rows == 800


def test_no_rows_cannot_be_split():
    with pytest.raises(TrainingError, match="no row"):
        split_rows(np.array([], np.int64))


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0] * 8 + [0, 1], "training part has one class only: every label is false"), ([0, 1] * 4 + [1, 1], "holdout part")],
)
def test_one_class_on_either_side_is_named(labels, said):
    with pytest.raises(TrainingError, match=said):
        check_labels(labels, split_rows(np.arange(10)), "binary")
    check_labels(labels, split_rows(np.arange(10)), "regression")
