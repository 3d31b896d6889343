"""Expressions over the request and over windows: what is served is what the training set holds, bit for bit."""

import json
import struct
from collections.abc import Callable
from typing import Any

from tests.journeys import shop
from tests.journeys.journey import Project, Up, now_ms, until
from tests.journeys.traffic import Traffic

from skyloom.kernel.records.prediction import predictions_topic
from skyloom.notebook import dataset

EXPRESSIONS = """[
    orders["amount"],
    recent["delay_7d"],
    ((sky.col("amount") - amounts["mean_7d"]) / (amounts["top_7d"] - amounts["low_7d"])).named("amount_z"),
    (recent["deliveries_1d"] / sky.coalesce(amounts["orders_7d"], 1)).named("burst"),
    sky.where(sky.col("shop").upper().endswith("1") & (recent["delay_1d"] > 1), 1, 0).named("slow"),
    sky.col("shop").hash(16).named("shop_hash"),
    sky.col("amount").bucket([10, 20, 40]).named("amount_bucket"),
    sky.hour("placed", tz="America/New_York"),
]"""
AMOUNTS = """amounts = sky.Features(
    orders,
    by="shop",
    mean=sky.mean("amount", over=["7d"]),
    top=sky.max("amount", over=["7d"]),
    low=sky.min("amount", over=["7d"]),
    orders=sky.count(over=["7d"]),
)


@sky.model"""
ENOUGH = 40


def test_a_ratio_of_windows_and_a_score_against_history(declared: Project, launch: Callable[..., Up]) -> None:
    text = shop.PROJECT.replace('[orders["amount"], recent]', EXPRESSIONS).replace("@sky.model", AMOUNTS)
    text = text.replace("LogisticRegression()", "LogisticRegression(max_iter=10_000)")
    declared.write("shop.py", text)
    for words in (["apply"], ["ingest", "orders"], ["ingest", "deliveries"], ["train", "late"]):
        declared.json(*words)
    up = launch(declared)
    for number in range(8):
        order = {"order_id": f"past-{number}", "placed": now_ms(), "shop": f"shop{number % 4}", "amount": 7.5 * number + 1}
        assert up.serving.post("/events/orders", order)[0] == 202
    until(lambda: all_folded(declared))
    traffic = Traffic(up, "row")
    until(lambda: len(traffic.answered) > ENOUGH and len(traffic.reported) > ENOUGH)
    traffic.stop()
    until(lambda: all_folded(declared))
    assert declared.json("features", "check")["skew"]["late"]["predictions"] >= ENOUGH
    served = {row["key"]: json.loads(row["inputs"]) for row in declared.lake(predictions_topic("late"))}
    assert up.end() == 0

    assert len(dataset("late", declared.directory, history="as_served")) >= ENOUGH
    joined = declared.lake("training/late")
    names = [name for name in joined[0] if name not in ("key", "t", "label")]
    unequal = [
        (row["key"], name, was, row[name])
        for row in joined
        for name, was in zip(names, served[row["key"]], strict=True)
        if not same(was, row[name])
    ]
    assert unequal == []
    assert sum(row["amount_z"] is not None for row in joined) > ENOUGH / 2
    assert len({row["burst"] for row in joined}) > 2
    assert {row["slow"] for row in joined} <= {0, 1}


def all_folded(project: Project) -> bool:
    return not any(lag["unfolded"] for lag in project.json("features", "lag")["topics"].values())


def same(was: Any, now: Any) -> bool:
    """Equal to the bit, and missing together."""
    if was is None or now is None:
        return was is now
    return struct.pack("d", was) == struct.pack("d", now)
