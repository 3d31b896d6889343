"""Tables that break the contract: what is said, what is kept, and what is in all the same."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.journeys import shop
from tests.journeys.journey import Project, now_ms

DAY = 24 * shop.HOUR


@pytest.fixture
def recorded(declared: Project) -> Project:
    """The shop, applied, with nothing ingested."""
    declared.json("apply")
    return declared


def orders(rows: list[tuple[Any, Any, Any, Any]]) -> pa.Table:
    ids, placed, names, amounts = zip(*rows, strict=True)
    columns = [
        pa.array(ids, pa.string()),
        shop.moments(placed),
        pa.array(names, pa.string()),
        pa.array(amounts, pa.float64()),
    ]
    return pa.table(columns, ["order_id", "placed", "shop", "amount"])


def write(project: Project, name: str, table: pa.Table) -> Path:
    pq.write_table(table, project.directory / name)
    return project.directory / name


def test_bad_rows_are_kept_with_their_reasons_and_good_ones_are_in(recorded: Project) -> None:
    project, soon = recorded, now_ms() + DAY
    good = [(f"good{n}", shop.START_MS + n * shop.HOUR, "shop1", 1.5 * n) for n in range(20)]
    bad = [
        (None, shop.START_MS, "shop1", 1.0),
        ("nan", shop.START_MS, "shop1", float("nan")),
        ("null", shop.START_MS, "shop1", None),
        ("endless", shop.START_MS, "shop1", float("inf")),
        ("future", soon, "shop1", 1.0),
        ("old", -1, "shop1", 1.0),
        ("good3", shop.START_MS, "shop2", 99.0),
    ]
    write(project, "mixed.parquet", orders([*good, *bad]))
    done = project.json("ingest", "orders", "mixed.parquet")
    assert (done["rows"], done["accepted"], done["rejected"]) == (27, 20, 7)
    wanted = {
        "order_id: null": 1,
        "amount: not a finite number": 2,
        "amount: null": 1,
        "placed: in the future": 1,
        "placed: before 1970": 1,
        "order_id: duplicate key": 1,
    }
    assert done["reasons"] == wanted
    kept = project.lake("quarantine/orders")
    assert Counter(row["reason"] for row in kept) == wanted
    assert all(row["origin"].endswith("mixed.parquet") for row in kept)
    assert any('"shop2"' in row["row"] and "99.0" in row["row"] for row in kept)
    assert sorted((row["order_id"], row["shop"]) for row in project.lake("events/orders")) == sorted(
        (id, name) for id, _, name, _ in good
    )


def test_a_key_that_is_there_already_stays_as_it_is(trained: Project) -> None:
    before = len(trained.lake("events/orders"))
    write(
        trained, "again.parquet", orders([("o5", shop.START_MS, "elsewhere", 1.0), ("fresh", shop.START_MS, "shop1", 2.0)])
    )
    trained.json("ingest", "orders", "again.parquet")
    there = trained.lake("events/orders")
    assert len({row["order_id"] for row in there}) == len(there) == before + 1
    assert not any(row["shop"] == "elsewhere" for row in there)
    [kept] = trained.lake("quarantine/orders")
    assert kept["reason"] == "order_id: duplicate key"
    assert "elsewhere" in kept["row"]


def test_tables_that_are_refused_as_a_whole(recorded: Project) -> None:
    project, table = recorded, shop.tables()["orders"]
    write(project, "timeless.parquet", table.drop_columns(["placed"]))
    refusal = project.refused("ingest", "orders", "timeless.parquet")
    assert "timeless.parquet lacks the time column placed" in refusal.error
    assert refusal.tried == "its columns: order_id, shop, amount"
    assert "rename the column" in refusal.next

    write(project, "texts.parquet", table.set_column(3, "amount", table.column("amount").cast(pa.string())))
    refusal = project.refused("ingest", "orders", "texts.parquet")
    assert "texts.parquet: amount is string, but orders declares float" in refusal.error
    assert "amount as double" in refusal.next

    write(project, "empty.parquet", table.slice(0, 0))
    refusal = project.refused("ingest", "orders", "empty.parquet")
    assert "empty.parquet holds no rows" in refusal.error

    (project.directory / "broken.parquet").write_bytes((project.directory / "orders.parquet").read_bytes()[:-100])
    refusal = project.refused("ingest", "orders", "broken.parquet")
    assert "broken.parquet cannot be read" in refusal.error

    assert "no file" in project.refused("ingest", "orders", "nowhere.parquet").error
    refusal = project.refused("ingest", "order")
    assert refusal.error == "there is no source 'order'"
    assert "orders" in refusal.next
    nothing_came_in(project)


def test_a_folder_whose_files_differ(recorded: Project) -> None:
    project, table = recorded, shop.tables()["orders"]
    (project.directory / "many").mkdir()
    write(project, "many/a.parquet", table)
    write(project, "many/b.parquet", table.set_column(3, "amount", table.column("amount").cast(pa.string())))
    refusal = project.refused("ingest", "orders", "many")
    assert "b.parquet: amount is string, but orders declares float" in refusal.error
    nothing_came_in(project)


def nothing_came_in(project: Project) -> None:
    """A refused table leaves no row anywhere; the good one comes in whole after it."""
    assert project.lake("events/orders") == []
    assert project.lake("quarantine/orders") == []
    assert project.platform.log.end("events/orders") == 0
    assert project.json("ingest", "orders")["accepted"] == shop.ORDERS
    assert len(project.lake("events/orders")) == shop.ORDERS
