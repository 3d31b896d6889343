"""The comparison can fail: each of these faults, put in on purpose, is found by it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from tests.features.histories import histories
from tests.features.replay import differences
from tests.features.test_algebra import EVERY, Drawn, fold, naive, read
from tests.features.twin import twin

from skyloom.features.algebra import batch
from skyloom.features.algebra.columns import milliseconds
from skyloom.features.offline import pit
from skyloom.features.online import fold as folding
from skyloom.features.online import lookup

SEARCH = settings(max_examples=1_000, phases=[Phase.generate], deadline=None, database=None, derandomize=True)
CUTS = st.lists(st.integers(1, 4), max_size=4)


def is_found() -> bool:
    """Whether some history shows a difference (otherwise `hypothesis.errors.NoSuchExample` is raised)."""
    return bool(find(st.tuples(histories(), CUTS), lambda drawn: differences(*drawn) != [], settings=SEARCH))


def use(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    monkeypatch.setattr(batch, "fold_blob", kernel.fold_blob)
    monkeypatch.setattr(batch, "fold_many", batch.fold_many.py_func)
    monkeypatch.setattr(lookup, "read_packed", kernel.read_packed)
    monkeypatch.setattr(pit, "sweep", kernel.sweep)


def test_without_deduplication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding.SourceFold, "_judge", lambda self, writer, events, *_: np.zeros(len(events), np.uint8))
    assert is_found()


def test_with_the_last_copy_instead_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_in_its_batch(self: Any, writer: Any, events: Any, *_: Any) -> Any:
        keys = events.column("id").to_pylist()
        return np.array([key in keys[index + 1 :] for index, key in enumerate(keys)], np.uint8)

    monkeypatch.setattr(folding.SourceFold, "_judge", last_in_its_batch)
    assert is_found()


def test_with_a_cut_by_event_time_instead_of_visibility(monkeypatch: pytest.MonkeyPatch) -> None:
    join = pit.join

    def by_event_time(group: Any, source: Any, events: Any, order: Any, asked: pit.Asked) -> Any:
        times = milliseconds(events.column(source.schema.time))
        return join(group, source, events, times, asked._replace(order=asked.t))

    monkeypatch.setattr(pit, "join", by_event_time)
    assert is_found()


def test_without_clamping_clocks_that_run_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (folding, pit):
        monkeypatch.setattr(module, "effective_times", lambda times, appended: milliseconds(times))
    assert is_found()


@pytest.mark.parametrize(
    ("healthy", "broken"),
    [
        pytest.param("bits[at - width] >= low", "bits[at - width] > low", id="window-without-its-first-tile"),
        pytest.param("        low -= low % hop_of(program, level)\n        if", "        if", id="window-not-on-a-hop"),
        pytest.param("order[i] < asked.order[j]", "order[i] <= asked.order[j]", id="one-event-too-many"),
        pytest.param("            tiles.count[:] = 0\n", "", id="tiles-of-the-entity-before"),
        pytest.param("if low < tiles.floor[level]:", "if False:", id="answers-below-the-floor"),
        pytest.param("level, 2) + KEEP] - hop", "level, 2) + KEEP] // 2", id="lets-go-too-early"),
        pytest.param("return total[slot] / scale if", "return total[slot] if", id="sum-without-its-scale"),
        pytest.param(
            "                bits[slot] += 1\n            elif kind == SUM:",
            "                bits[slot] = 1\n            elif kind == SUM:",
            id="counts-no-further",
        ),
        pytest.param("if heap[at] != a:\n", "if False:\n", id="lists-by-offset-alone"),
        pytest.param("return (b > heap[at + 1]) == falling", "return False", id="lists-without-the-offset"),
        pytest.param("    if at == most:", "    if at >= 1:", id="lists-of-one"),
        pytest.param("while before <= rank:", "while before < rank:", id="quantile-one-rank-below"),
        pytest.param("high = t - offset\n", "high = t\n", id="windows-of-the-past-until-now"),
        pytest.param("    if present < 2:", "    if present < 1:", id="spread-of-one-value"),
        pytest.param("_times(root, root)", "_times(root, _limbs(1, 0))", id="spread-around-zero"),
        pytest.param("least = min(least, value)", "least = value", id="minimum-of-one-tile"),
    ],
)
def test_with_a_broken_kernel(monkeypatch: pytest.MonkeyPatch, healthy: str, broken: str) -> None:
    use(monkeypatch, twin(healthy, broken))
    assert is_found()


@pytest.mark.parametrize(
    ("healthy", "broken"),
    [
        pytest.param(
            "    if count == cap:\n        return _reg", "    if False:\n        return _reg", id="sets-without-a-cap"
        ),
        pytest.param("    if rank > held:", "    if rank > held and held == 0:", id="registers-of-the-first-hash"),
        pytest.param("z = 0.5 * (z + held[rank])", "z = 0.5 * z + held[rank]", id="another-estimator"),
        pytest.param("total[at + 1] += high + (low >> 62)", "total[at + 1] += high", id="squares-without-the-carry"),
        pytest.param("    if half and (", "    if False and (", id="quotients-cut-off"),
        pytest.param(
            "heap[handle + HEAD + 2 * at + 1] += count", "heap[handle + HEAD + 2 * at + 1] = count", id="buckets-of-one"
        ),
    ],
)
def test_with_a_broken_state_of_many_large_values(healthy: str, broken: str) -> None:
    values = [2.1e9 + 1.37 * i * i for i in range(1_500)]
    given = Drawn([*values, 7.5, 7.5, 7.5], list(range(1_503)))
    events = given.columns(EVERY)
    assert read(EVERY, fold(EVERY, events, []), 1_000) == naive(given)
    mutant = twin(healthy, broken)
    assert read(EVERY, fold(EVERY, events, [], mutant), 1_000, mutant) != naive(given)
