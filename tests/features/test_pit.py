"""The join's own parts: sorting without comparing, ranges of entities, and values that do not depend on either."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.histories import GROUPS, ORIGIN, SCHEMA, SOURCE, log_batch
from tests.features.oracle import Happened

from skyloom.features.offline import pit
from skyloom.features.offline.parallel import in_parallel
from skyloom.features.offline.ranges import by_entity, put_in_order, ranges
from skyloom.ingest.codec import decode
from skyloom.kernel.errors import DataError
from skyloom.kernel.units import DAY, MINUTE

CODES = st.lists(st.tuples(st.integers(-1, 6), st.integers(0, 4)), max_size=40)


@settings(deadline=None)
@given(CODES, st.integers(0, 7))
def test_rows_are_sorted_by_entity_then_by_order(drawn: list[tuple[int, int]], entities: int) -> None:
    codes = np.array([code for code, _ in drawn], np.int64)
    order = np.array([at for _, at in drawn], np.int64)
    rows, edges = by_entity(codes, entities)
    before = order.copy()
    settled = put_in_order(rows, order, edges)
    kept = [index for index, (code, _) in enumerate(drawn) if 0 <= code < entities]
    assert rows.tolist() == sorted(kept, key=lambda index: (drawn[index][0], drawn[index][1], index))
    assert settled.tolist() == [drawn[index][1] for index in rows.tolist()]
    assert np.diff(edges).tolist() == [sum(code == entity for code, _ in drawn) for entity in range(entities)]
    assert order.tolist() == before.tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 9))
def test_ranges_are_all_entities_once(weights: list[int], parts: int) -> None:
    cut = list(ranges(np.array(weights, np.int64), parts))
    assert [entity for begin, stop in cut for entity in range(begin, stop)] == list(range(len(weights)))
    assert len(cut) <= parts
    for begin, stop in cut:
        assert sum(weights[begin : stop - 1]) <= sum(weights) / parts + 1e-9


def _events(count: int) -> pa.Table:
    random = np.random.default_rng(3)
    names = [f"w{index}" for index in range(40)]
    rows = [
        {
            "id": f"k{i}",
            "at": ORIGIN + int(at),
            "who": names[int(who)],
            "desk": int(who) % 3,
            "x": float(x),
            "n": 1,
            "ok": True,
        }
        for i, (at, who, x) in enumerate(
            zip(random.integers(-DAY, DAY, count), random.integers(0, 40, count), random.normal(0, 9, count), strict=True)
        )
    ]
    return decode([log_batch([Happened(i, ORIGIN + DAY, True, row["at"], row) for i, row in enumerate(rows)])], SCHEMA)


def _asked(count: int) -> pit.Asked:
    random = np.random.default_rng(4)
    who = pa.chunked_array([[f"w{index}" if index < 45 else None for index in random.integers(0, 50, count).tolist()]])
    t = ORIGIN + random.integers(-DAY, 2 * DAY, count)
    return pit.Asked([who], t, t)


def test_values_do_not_depend_on_ranges_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    events, asked = _events(3_000), _asked(500)
    order = pit.by_time(events, SOURCE, [pit.Progress(np.zeros(0, np.int64), np.zeros(0, np.int64))])
    whole = pit.join(GROUPS[0], SOURCE, events, order, asked)
    monkeypatch.setattr(pit, "_SMALL", 0)
    for count in (1, 3, 11):
        monkeypatch.setattr(pit, "cores", lambda count=count: count)
        assert pit.join(GROUPS[0], SOURCE, events, order, asked).tobytes() == whole.tobytes()


def test_values_do_not_depend_on_the_order_of_rows() -> None:
    events, asked = _events(2_000), _asked(300)
    shuffled = events.take(pa.array(np.random.default_rng(5).permutation(len(events))))
    progress = pit.Progress(np.zeros(0, np.int64), np.zeros(0, np.int64))
    tables = [pit.join(GROUPS[0], SOURCE, t, pit.by_time(t, SOURCE, [progress]), asked) for t in (events, shuffled)]
    assert tables[0].tobytes() == tables[1].tobytes()


def test_room_grows_when_a_history_has_more_tiles_than_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    events, asked = _events(2_000), _asked(50)
    progress = pit.Progress(np.zeros(0, np.int64), np.zeros(0, np.int64))
    order = pit.by_time(events, SOURCE, [progress])
    whole = pit.join(GROUPS[0], SOURCE, events, order, asked)
    monkeypatch.setattr(pit, "_MOST_ROOM", 1)
    assert pit.join(GROUPS[0], SOURCE, events, order, asked).tobytes() == whole.tobytes()


def test_the_first_error_of_a_thread_is_raised() -> None:
    def fail(part: int) -> Any:
        raise DataError(f"part {part}")

    with pytest.raises(DataError, match="part 1"):
        in_parallel(fail, [1, 2])


def test_only_what_was_visible_by_event_time_and_delay_is_seen_as_event() -> None:
    events = _events(200)
    seen = pit.by_event(events, SOURCE)
    times = events.column("at").cast(pa.int64()).to_numpy()
    assert seen.tolist() == (times + 7 * MINUTE).tolist()
