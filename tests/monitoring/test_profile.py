import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.errors import DataError
from skyloom.monitoring.profile import TOP_VALUES, bins_of, merge, profile

numbers = st.one_of(st.none(), st.floats(width=32), st.integers(-5, 5).map(float))
texts = st.one_of(st.none(), st.sampled_from("abcdef"), st.text(max_size=3))
rows = st.lists(st.tuples(numbers, texts, st.one_of(st.none(), st.booleans())), max_size=60)


def table(rows):
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    x, c, b = (list(column) for column in columns)
    return pa.table({"x": pa.array(x, pa.float64()), "c": pa.array(c, pa.string()), "b": pa.array(b, pa.bool_())})


@given(rows, rows, rows)
@settings(max_examples=80, deadline=None)
def test_the_whole_is_the_merge_of_its_parts(reference, one, other):
    bins = bins_of(table(reference))
    parts = merge(profile(table(one), bins), profile(table(other), bins))
    assert parts == profile(table(one + other), bins)


@given(rows, rows)
@settings(max_examples=80, deadline=None)
def test_every_value_is_counted_once_in_its_bin(reference, current):
    bins = bins_of(table(reference))
    found = profile(table(current), bins).columns
    edges = bins["x"].edges
    for index, count in enumerate(found["x"].counts):
        low = edges[index - 1] if index else -math.inf
        high = edges[index] if index < len(edges) else math.inf
        values = [x for x, _, _ in current if x is not None and not math.isnan(x)]
        expected = sum((low < x or (index == 0 and x == -math.inf)) and x <= high for x in values)
        assert count == expected
    seen = {c for _, c, _ in reference}
    unseen = sum(c is not None and c not in seen for _, c, _ in current)
    assert found["c"].counts[-1] == unseen
    assert found["b"].missing == sum(b is None for _, _, b in current)
    assert {column.rows for column in found.values()} == {len(current)}


def test_quantile_bins_hold_equal_shares():
    values = np.random.default_rng(1).normal(size=20_000)
    values[:100] = math.nan
    column = profile(pa.table({"x": values}), bins_of(pa.table({"x": values}))).columns["x"]
    assert column.missing == 100
    assert len(column.counts) == 20
    assert max(column.counts) - min(column.counts) <= 2


def test_rare_and_unseen_values_have_their_own_bins():
    reference = pa.table({"c": [f"v{n % 70}" for n in range(700)] + [f"v{n}" for n in range(TOP_VALUES)]})
    bins = bins_of(reference)
    current = pa.table({"c": pa.array(["v1", "v69", "new", None]).dictionary_encode()})
    counts = profile(current, bins).columns["c"].counts
    assert (sum(counts[:-2]), counts[-2], counts[-1]) == (1, 1, 1)


def test_a_missing_column_is_said():
    bins = bins_of(pa.table({"x": [1.0], "y": [2.0]}))
    with pytest.raises(DataError, match="no column y"):
        profile(pa.table({"x": [1.0]}), bins)
