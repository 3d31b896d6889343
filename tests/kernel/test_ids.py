"""Ids that sort, bytes that are the same for the same value."""

from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from skyloom.kernel.ids import canonical_json, content_id, digest, nearest, new_id

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _turned(value: Any) -> Any:
    """The same value with every dictionary written in the other direction."""
    if isinstance(value, dict):
        return {key: _turned(value[key]) for key in reversed(value)}
    return [_turned(item) for item in value] if isinstance(value, list) else value


@given(_json)
def test_equal_values_have_one_json(value: Any) -> None:
    assert canonical_json(value) == canonical_json(_turned(value))
    assert content_id(value) == digest(canonical_json(value))


def test_different_values_have_different_ids() -> None:
    values = [1, 1.0, "1", True, None, [], {}, [1], {"a": 1}, {"a": 1.5}, 0.1 + 0.2, 0.3]
    assert len({content_id(value) for value in values}) == len(values)


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=20, unique=True))
def test_ids_sort_by_the_time_they_were_made(moments: list[int]) -> None:
    ids = []
    for moment in sorted(moments):
        with patch("skyloom.kernel.ids.time.time_ns", return_value=moment * 1_000_000):
            ids.append(new_id("run"))
    assert ids == sorted(ids)
    assert {len(name) for name in ids} == {len("run_") + 26}


def test_ids_of_one_millisecond_differ() -> None:
    with patch("skyloom.kernel.ids.time.time_ns", return_value=1_364_800_000_000_000_000):
        assert len({new_id("r") for _ in range(2_000)}) == 2_000


def test_nearest_names_best_first_and_none_for_nonsense() -> None:
    assert nearest("arr_dely", ["dep_delay", "arr_delay", "zzz"])[0] == "arr_delay"
    assert nearest("qqqq", ["arr_delay"]) == []
