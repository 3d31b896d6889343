"""A matrix of many rows stays whole: its answers and receipts are those of its rows, one by one."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_world import NumericWorld, readings
from numpy.typing import NDArray
from serving_world import NOW, Arm
from test_bulk import Kept

from skyloom.kernel.clock import ManualClock
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.records.release import Release, Route
from skyloom.package import load
from skyloom.serving.answers import answers_of
from skyloom.serving.body import read_objects
from skyloom.serving.bulk import BulkPredictor
from skyloom.serving.contracts.open_inference_inputs import columns_of
from skyloom.serving.loaded import LoadedRelease, assemble
from skyloom.serving.metrics import Metrics
from skyloom.serving.numbered import Numbered
from skyloom.serving.predict import Predictor
from skyloom.serving.tensors import Columns, Tensor, from_json, from_raw
from skyloom.serving.wire import Problem


class Here:
    """A release in this process: x0 (may be missing) and x1, both floats."""

    def __init__(self, folder: Path) -> None:
        world = NumericWorld(folder, 2)
        route = Route(world.model, (Arm(1, world.sums(), 10_000, "champion"),), "s")
        release = Release(1, NOW, "test", "tester", {"sums": route}, {"readings": world.source}, {}, ())
        self.release: LoadedRelease = assemble("e" * 64, release, world.online, lambda digest: load(world.objects, digest))
        self.route, self.schema, self.kept = self.release.routes["sums"], world.source.schema, Kept()
        clock, metrics = ManualClock(NOW), Metrics()
        self.bulk = BulkPredictor(self.kept, clock, metrics)  # type: ignore[arg-type]
        self.by_row = Predictor(self.kept, None, clock, metrics)  # type: ignore[arg-type]

    def receipts(self) -> list[Receipt]:
        """What was kept since the last look, by unit, without what no two receipts share."""
        kept, self.kept.receipts = self.kept.receipts, []
        return sorted((msgspec.structs.replace(each, id="", latency_ms=0.0) for each in kept), key=lambda each: each.unit)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    return Here(tmp_path_factory.mktemp("matrix"))


def matrix(values: NDArray[Any], datatype: str) -> Tensor:
    raw = values.tobytes() if datatype != "BF16" else (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return from_raw("x", datatype, values.shape, raw)


DTYPES = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BF16": np.float32}


@settings(deadline=None, max_examples=60)
@given(st.integers(17, 60), st.integers(0, 2**32 - 1), st.sampled_from(sorted(DTYPES)), st.booleans())
def test_its_answers_and_receipts_are_those_of_its_rows(here: Here, count: int, seed: int, kind: str, missing: bool) -> None:
    values = np.random.default_rng(seed).normal(size=(count, 2)).astype(DTYPES[kind])
    if missing:
        values[count // 2, 0] = np.nan
    asked = columns_of([matrix(values, kind)], here.schema, NOW)
    assert asked.matrix is not None
    assert asked.fresh
    assert isinstance(asked.tensors["id"].values, Numbered)
    done = here.bulk.predict(here.release, here.route, asked)
    assert done is not None
    assert [each.id for each in here.kept.receipts] == list(done.receipts)
    mine = here.receipts()
    single = answers_of(here.by_row.predict(here.release, here.route, read_objects(here.route.rows, asked.rows())))
    assert here.receipts() == mine
    assert done.scores.tobytes() == single.scores.tobytes()


@given(st.sampled_from(sorted(DTYPES)), st.integers(1, 40))
def test_its_columns_are_its_columns(kind: str, count: int) -> None:
    schema = readings(2).schema
    values = np.arange(count * 2).reshape(count, 2).astype(DTYPES[kind])
    rows = columns_of([matrix(values, kind)], schema, 5).rows()
    exact = values if kind != "BF16" else (values.view("<u4") >> 16 << 16).view("<f4")
    assert [[row["x0"], row["x1"]] for row in rows] == exact.tolist()
    assert {row["at"] for row in rows} == {5}
    assert len({row["id"] for row in rows}) == count


def test_what_does_not_fit_beside_it_is_explained(here: Here) -> None:
    whole = matrix(np.ones((20, 2), np.float32), "FP32")
    beside = {
        "x1: given twice": from_json("x1", "FP32", (20,), [1.0] * 20),
        "x0: given twice": whole._replace(name="y"),
        r"different numbers of rows: \[19, 20\]": from_json("id", "BYTES", (19,), ["a"] * 19),
    }
    for says, tensor in beside.items():
        for given_ in ([whole, tensor], [tensor, whole]):
            with pytest.raises(Problem, match=says):
                columns_of(given_, here.schema, NOW)
    infinite = columns_of([matrix(np.full((20, 2), np.inf, np.float32), "FP32")], here.schema, NOW)
    assert here.bulk.predict(here.release, here.route, infinite) is None
    other = Columns(infinite.count, {**infinite.tensors, "x2": infinite.tensors["at"]}, infinite.matrix)
    assert here.bulk.predict(here.release, here.route, other) is None


@given(st.integers(1, 3_000), st.data())
def test_numbered_ids_are_one_text_each_however_they_are_asked_for(count: int, data: st.DataObject) -> None:
    ids = Numbered("k", count)
    texts = list(ids)
    assert len(texts) == len(ids) == len(set(texts)) == count
    assert texts == sorted(texts)
    assert [each.decode() for each in ids.octets().tolist()] == texts
    at = data.draw(st.integers(-count, count - 1))
    assert ids[at] == texts[at]
    assert ids[at:] == texts[at:]
    with pytest.raises(IndexError):
        ids[count]
