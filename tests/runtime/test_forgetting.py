"""Which events a person means: values have the type of their column."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skyloom.kernel.errors import DataError
from skyloom.platform import Platform, open_platform
from skyloom.runtime.applying import apply
from skyloom.runtime.forgetting import forget, named_events
from skyloom.runtime.ingesting import ingest

PROJECT = """
import skyloom as sky


class Payment(sky.Event):
    id: int = sky.key()
    at: sky.Timestamp = sky.time()
    who: str
    refunded: bool


payments = sky.Source(Payment)
activity = sky.Features(payments, by="who", n=sky.count(over=["1d"]))
"""
PAYMENTS = {
    "id": [1, 2, 3, 4],
    "at": pa.array([1_700_000_000_000 + n for n in range(4)], pa.timestamp("ms", "UTC")),
    "who": ["a=b", "a", "b", "b"],
    "refunded": [True, False, False, False],
}


@pytest.fixture(params=[1, 3])
def payments(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    (tmp_path / "project.py").write_text(PROJECT)
    (tmp_path / "skyloom.toml").write_text(f"[local]\npartitions = {request.param}\n")
    platform = open_platform(tmp_path)
    apply(platform)
    pq.write_table(pa.table(PAYMENTS), tmp_path / "payments.parquet")
    ingest(platform, "payments", tmp_path / "payments.parquet")
    return platform


def test_values_have_the_type_of_their_column(payments: Platform) -> None:
    assert named_events(payments, "payments", ["who=a=b"], []).values == ("a=b",)
    whole = named_events(payments, "payments", ["id=3"], ["2", "3", "77"])
    assert (whole.column, whole.values, whole.events) == ("id", (3, 2, 77), 2)
    truth = named_events(payments, "payments", ["refunded=False"], [])
    assert (truth.values, truth.events) == ((False,), 3)
    with pytest.raises(DataError, match="id is a int, and 'x' is none"):
        named_events(payments, "payments", [], ["x"])
    with pytest.raises(DataError, match="refunded is a bool, and 'no' is none"):
        named_events(payments, "payments", ["refunded=no"], [])
    with pytest.raises(DataError, match="cannot name"):
        named_events(payments, "payments", ["at=1"], [])


def test_rows_that_went_are_counted_once_each_time(payments: Platform) -> None:
    done = forget(payments, named_events(payments, "payments", ["who=b"], []))
    assert (done.rows["events/payments"], done.groups) == (2, ("activity",))
    again = forget(payments, named_events(payments, "payments", ["who=b"], []))
    assert (sum(again.rows.values()), again.groups) == (0, ())
    assert forget(payments, named_events(payments, "payments", [], ["1"])).rows["events/payments"] == 1
    assert payments.lake.read("events/payments").column("id").to_pylist() == [2]
