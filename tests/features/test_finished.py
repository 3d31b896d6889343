"""What is remembered of a group is what the kernel would say again."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.histories import GROUPS, SOURCE, History, histories
from tests.features.memory import MemoryOnline
from tests.features.replay import ENTITIES, last_offset, parts

from skyloom.features.online.finished import Finished
from skyloom.features.online.fold import SourceFold
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.kernel.errors import DataError
from skyloom.kernel.units import MINUTE


def answer(lookup, wanted, t):
    try:
        return lookup.read(wanted, t)
    except DataError as error:
        return str(error)


@settings(max_examples=30, deadline=None)
@given(histories(), st.lists(st.integers(-3 * MINUTE, 3 * MINUTE), min_size=1, max_size=4))
def test_one_who_remembers_answers_as_one_who_does_not(history: History, shifts: list[int]) -> None:
    store, groups = MemoryOnline(), {group.name: group for group in GROUPS}
    old = OnlineFeatures(store, groups)
    wanted = [[(group.name, entity) for group in GROUPS for entity in [ENTITIES[group.by][index]]] for index in range(4)]
    moments = [t + shift for t in history.questions for shift in [0, *shifts, 0]]
    for part in parts(history, [1, 2, 3]):
        with store.write() as writer:
            SourceFold(SOURCE, GROUPS).fold(writer, part, last_offset(part) + 1, 0)
        for asked in wanted:
            for t in moments:
                assert answer(old, asked, t) == answer(OnlineFeatures(store, groups), asked, t)


def test_other_bytes_and_another_step_are_not_answered_from_memory():
    finished = Finished(GROUPS[0])
    step = finished.step_ms
    finished.put(b"k", b"tiles", 7 * step, (1.0, None))
    assert finished.get(b"k", b"tiles", 8 * step - 1) == (1.0, None)
    assert finished.get(b"k", b"tiles", 8 * step) is None
    assert finished.get(b"k", b"tiles", 7 * step - 1) is None
    assert finished.get(b"k", b"tilez", 7 * step) is None
    assert finished.get(b"l", b"tiles", 7 * step) is None


def test_no_more_is_remembered_than_was_allowed():
    finished = Finished(GROUPS[0], most=2)
    for entity in (b"a", b"b", b"a", b"c"):
        finished.put(entity, b"tiles", 0, (1.0,))
    assert [finished.get(entity, b"tiles", 0) for entity in (b"a", b"b", b"c")] == [None, (1.0,), (1.0,)]
