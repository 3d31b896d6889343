"""Entities of several columns: told apart in stores and in training sets alike."""

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from skyloom.features.entities import NOBODY, entity_codes
from skyloom.kernel.entity import entity_key

TEXTS = st.text("a1:(si#", max_size=4)
ENTITIES = st.one_of(
    st.tuples(TEXTS),
    st.tuples(st.integers()),
    st.tuples(TEXTS, TEXTS),
    st.tuples(TEXTS, st.integers()),
    st.tuples(*[TEXTS] * 3),
)


@given(ENTITIES, ENTITIES)
def test_different_entities_have_different_keys(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (entity_key(*one) == entity_key(*other)) == (one == other)


def test_long_entities_have_short_keys_that_differ() -> None:
    keys = [entity_key("a" * 400, "b" * 400), entity_key("a" * 401, "b" * 399), entity_key("a" * 400 + "b" * 400)]
    assert len(set(keys)) == 3
    assert max(map(len, keys)) <= 500


ROWS = st.lists(
    st.tuples(
        st.sampled_from([None, "", "a", "ab"]), st.sampled_from([None, 0, -1, 2**62]), st.sampled_from([None, "b", "bc"])
    ),
    max_size=12,
)


@given(ROWS, st.integers(1, 3), st.integers(0, 12))
def test_codes_are_equal_where_entities_are(rows: list[tuple[Any, ...]], parts: int, cut: int) -> None:
    types = (pa.string(), pa.int64(), pa.string())
    columns = [
        pa.chunked_array([[row[part] for row in rows[:cut]], [row[part] for row in rows[cut:]]], types[part])
        for part in range(parts)
    ]
    codes = entity_codes(columns).tolist()
    entities = [row[:parts] for row in rows]
    assert [code == NOBODY for code in codes] == [None in entity for entity in entities]
    known = [(entity, code) for entity, code in zip(entities, codes, strict=True) if None not in entity]
    assert len({entity for entity, _ in known}) == len({code for _, code in known}) == len(set(known))
