"""Many rows at once: the answers and receipts of rows asked one by one, whichever way they went."""

import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_world import NumericWorld, summing_model
from serving_world import NOW, Arm

from skyloom.kernel.clock import ManualClock
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.records.release import Release, Route
from skyloom.package import LoadedPackage, load
from skyloom.serving.answers import answers_of
from skyloom.serving.body import read_objects
from skyloom.serving.bulk import BulkPredictor
from skyloom.serving.loaded import LoadedRelease, assemble
from skyloom.serving.logbook import Policy, Sealed
from skyloom.serving.logbook.forwarder import listed
from skyloom.serving.predict import Predictor
from skyloom.serving.tensors import Columns, from_json, from_raw
from skyloom.serving.traces import UNDER_WAY, Recording, Underway
from skyloom.serving.wire import Problem


class Kept:
    """A logbook that only keeps."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    secret = b"s"

    def refuses(self, policy: Policy) -> bool:
        return False

    def add(self, policy: Policy, receipts: list[Receipt]) -> bool:
        kept = [policy.redacted(each, self.secret) for each in receipts if policy.keeps(each.key)]
        self.receipts += msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=list[Receipt])
        return True

    def seal(self, policy: Policy, batch: Sealed) -> bool:
        made = msgspec.msgpack.decode(listed(batch.rows, bytes(batch.encode())), type=list[Receipt])
        assert len(made) == batch.rows
        self.receipts += made
        return True


class Here:
    """A release in this process: x0 (may be missing), x1, x2 (a truth), x3 (whole), two arms of half the units each."""

    def __init__(self, folder: Path) -> None:
        from skyloom.serving.metrics import Metrics

        world = NumericWorld(folder)
        arms = (Arm(1, world.sums(), 5_000, "champion"), Arm(2, world.sums(summing_model(4)), 5_000, "canary"))
        route = Route(world.model, arms, "s")
        release = Release(1, NOW, "test", "tester", {"sums": route}, {"readings": world.source}, {}, ())

        def package(digest: str) -> LoadedPackage:
            return load(world.objects, digest)

        self.two: LoadedRelease = assemble("d" * 64, release, world.online, package)
        single = msgspec.structs.replace(route, arms=(msgspec.structs.replace(arms[0], share=10_000),))
        alone = msgspec.structs.replace(release, routes={"sums": single})
        self.one: LoadedRelease = assemble("e" * 64, alone, world.online, package)
        self.kept = Kept()
        clock, metrics = ManualClock(NOW), Metrics()
        self.bulk = BulkPredictor(self.kept, clock, metrics)  # type: ignore[arg-type]
        self.by_row = Predictor(self.kept, None, clock, metrics)  # type: ignore[arg-type]

    def receipts(self) -> dict[str, Receipt]:
        """What was kept since the last look, by unit, without what no two receipts share."""
        kept, self.kept.receipts = self.kept.receipts, []
        return {each.unit: msgspec.structs.replace(each, id="", latency_ms=0.0) for each in kept}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    return Here(tmp_path_factory.mktemp("here"))


def columns(rows: list[tuple[Any, ...]]) -> Columns:
    kinds = {"id": "BYTES", "at": "INT64", "x0": "FP64", "x1": "FP32", "x2": "BOOL", "x3": "INT16"}
    count = len(rows)
    by_name = zip(kinds.items(), zip(*rows, strict=True) if rows else [()] * 6, strict=True)
    return Columns(count, {name: from_json(name, kind, (count,), list(values)) for (name, kind), values in by_name})


finite = st.floats(-1e6, 1e6)
rows_of = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
        st.integers(0, NOW),
        st.none() | finite,
        finite,
        st.booleans(),
        st.integers(-(2**15), 2**15 - 1),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[0],
)


def test_each_arm_that_is_asked_is_a_span(here: Here) -> None:
    recording = Recording("1" * 32, "2" * 16)
    token = UNDER_WAY.set(Underway("r", recording.trace_id, recording))
    try:
        rows = [(f"r{row}", NOW, 1.0, 2.0, True, 3) for row in range(40)]
        assert here.bulk.predict(here.two, here.two.routes["sums"], columns(rows)) is not None
    finally:
        UNDER_WAY.reset(token)
        here.receipts()
    spans = recording.spans
    assert {(span.name, span.attributes["skyloom.arm"]) for span in spans} == {("model", "champion"), ("model", "canary")}
    assert sum(int(span.attributes["skyloom.rows"]) for span in spans) == 40


@settings(deadline=None, max_examples=60)
@given(rows_of, st.booleans())
def test_answers_and_receipts_are_those_of_single_rows(here: Here, rows: list[tuple[Any, ...]], two: bool) -> None:
    release = here.two if two else here.one
    route, asked = release.routes["sums"], columns(rows)
    done = here.bulk.predict(release, route, asked)
    assert done is not None or any(not str(row[0]).isprintable() for row in rows)
    if done is None:
        return
    ids = {each.id for each in here.kept.receipts}
    assert set(done.receipts) == ids
    units = {each.id: each.unit for each in here.kept.receipts}
    assert [units[each] for each in done.receipts] == [row[0] for row in rows]
    mine = here.receipts()
    single = answers_of(here.by_row.predict(release, route, read_objects(route.rows, asked.rows())))
    assert here.receipts() == mine
    assert (done.scores.tolist(), done.labels, done.versions) == (single.scores.tolist(), None, single.versions)


GOOD = ("a", 5, 1.0, 2.0, True, 3)
UNLIKE: dict[str, Any] = {
    "a time before 1970": from_json("at", "INT64", (1,), [-1]),
    "a time as text": from_json("at", "BYTES", (1,), ["2013-01-01T00:00:00Z"]),
    "a missing number": from_json("x1", "FP64", (1,), [None]),
    "infinity": from_raw("x0", "FP32", (1,), struct.pack("<f", float("inf"))),
    "a float for a whole number": from_json("x3", "FP64", (1,), [1.0]),
    "64 bits without a sign": from_json("x3", "UINT64", (1,), [2**64 - 1]),
    "another column": from_json("x4", "FP64", (1,), [1.0]),
    "half a surrogate pair": from_json("id", "BYTES", (1,), ["\ud800"]),
    "a long text": from_json("id", "BYTES", (1,), ["x" * 65_537]),
    "a null key": from_json("id", "BYTES", (1,), [None]),
}


@pytest.mark.parametrize("tensor", UNLIKE.values(), ids=UNLIKE.keys())
def test_what_is_not_plainly_right_is_left_to_the_reader_of_rows(here: Here, tensor: Any) -> None:
    asked = columns([GOOD])
    asked.tensors[tensor.name] = tensor
    assert here.bulk.predict(here.one, here.one.routes["sums"], asked) is None
    assert here.kept.receipts == []


def test_a_version_that_breaks_is_left_to_who_tells_it(here: Here) -> None:
    asked = columns([GOOD, ("b", 5, 3.4e38, 3.4e38, True, 3)])
    route = here.one.routes["sums"]
    assert here.bulk.predict(here.one, route, asked) is None
    with pytest.raises(Problem, match="could not answer"):
        here.by_row.predict(here.one, route, read_objects(route.rows, asked.rows()))
    assert [each.error is None for each in here.receipts().values()] == [True, False]


def test_raw_matrices_keep_their_bits() -> None:
    values = np.float32([0.1, 1e-45, -0.0])
    assert from_raw("a", "FP32", (3,), values.tobytes()).column() == values.tolist()
