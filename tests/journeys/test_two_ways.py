"""A transfer has two accounts: one group of features, reached by the sender and by the receiver, trained on and served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.journeys.journey import Project, Up, now_ms, until
from tests.journeys.shop import HOUR, SETTINGS, START_MS, moments

from skyloom.notebook import dataset

PROJECT = '''"""Is a transfer a fraud?"""

import skyloom as sky


class Transfer(sky.Event):
    transfer_id: str = sky.key()
    asked: sky.Timestamp = sky.time()
    sender: str
    receiver: str
    amount: float


class Verdict(sky.Event):
    transfer_id: str = sky.key()
    told: sky.Timestamp = sky.time()
    fraud: bool


class Booking(sky.Event):
    booking_id: str = sky.key()
    booked: sky.Timestamp = sky.time()
    account: str
    amount: float = sky.field(precision=2)


transfers = sky.Source(Transfer, table="transfers.parquet", stream="transfers")
verdicts = sky.Source(Verdict, table="verdicts.parquet")
bookings = sky.Source(Booking, table="bookings.parquet", stream="bookings")

is_fraud = sky.Label(verdicts, on="transfer_id", value=sky.col("fraud"), within="3d")
activity = sky.Features(bookings, by="account", n=sky.count(over=["7d"]), most=sky.max("amount", over=["7d"]))
sent = sky.Features(transfers, by="sender", n=sky.count(over=["7d"]))

sender, receiver = activity.of(sky.col("sender")), activity.of(sky.col("receiver"), prefix="receiver")


@sky.model(
    requests=transfers,
    label=is_fraud,
    features=[
        sender,
        receiver,
        (sender["n_7d"] - receiver["n_7d"]).named("busier"),
        sent["n_7d"],
        sent.of(sky.col("receiver"), prefix="receiver")["n_7d"],
    ],
)
def fraud(X, y):
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=5, num_leaves=4, verbosity=-1).fit(X, y)


sky.Loop(fraud, gates=[sky.at_least("roc_auc", 0.0)], rollout=[sky.full()])
'''
NAMES = ("activity_n_7d", "activity_most_7d", "receiver_activity_n_7d", "receiver_activity_most_7d", "busier", "sent_n_7d",
         "receiver_sent_n_7d")  # fmt: skip
COUNT, ACCOUNTS, WEEK = 600, 8, 7 * 24 * HOUR


def tables() -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(11)
    asked = START_MS + HOUR * np.arange(COUNT)

    def accounts(count: int) -> list[str]:
        return [f"a{number}" for number in random.integers(0, ACCOUNTS, count).tolist()]

    ids, amounts = [f"t{n}" for n in range(COUNT)], random.gamma(2.0, 20.0, COUNT).round(2)
    booked = START_MS + random.integers(-24 * HOUR, COUNT * HOUR, 200)
    return {
        "transfers": {
            "transfer_id": ids,
            "asked": asked,
            "sender": accounts(COUNT),
            "receiver": accounts(COUNT),
            "amount": amounts,
        },
        "verdicts": {"transfer_id": ids, "told": asked + 6 * HOUR, "fraud": (amounts > 40).tolist()},
        "bookings": {
            "booking_id": [f"b{n}" for n in range(200)],
            "booked": booked,
            "account": accounts(200),
            "amount": random.gamma(2.0, 9.0, 200).round(2),
        },
    }


def rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with all its history and a champion."""
    directory: Path = tmp_path_factory.mktemp("ways") / "transfers"
    directory.mkdir()
    project = Project(directory)
    project.write("transfers.py", PROJECT)
    project.write("skyloom.toml", SETTINGS)
    for name, columns in tables().items():
        made = {key: moments(value) if key in ("asked", "told", "booked") else value for key, value in columns.items()}
        pq.write_table(pa.table(made), directory / f"{name}.parquet")
    project.json("apply")
    for name in tables():
        project.json("ingest", name)
    project.json("train", "fraud")
    return project


def expected(transfer: dict[str, Any], bookings: list[dict[str, Any]], transfers: list[dict[str, Any]]) -> list[Any]:
    """The inputs of a transfer, worked out from all that was before it."""
    t = int(transfer["asked"])
    low = (t - WEEK) // HOUR * HOUR
    found: list[Any] = []
    for side in ("sender", "receiver"):
        its = [b["amount"] for b in bookings if b["account"] == transfer[side] and low <= b["booked"] < t]
        found += [float(len(its)), max(its, default=None)]
    sent = [
        sum(r["sender"] == transfer[side] and low <= r["asked"] < t for r in transfers) for side in ("sender", "receiver")
    ]
    return [*found, found[0] - found[2], *map(float, sent)]


def test_a_training_set_has_both_sides(transferred: Project) -> None:
    there = {name: rows(columns) for name, columns in tables().items()}
    found = {row["key"]: row for row in dataset("fraud", transferred.directory).to_dict("records")}
    assert len(found) == COUNT
    for transfer in there["transfers"]:
        row = found[transfer["transfer_id"]]
        values = [None if row[name] != row[name] else row[name] for name in NAMES]
        wanted = expected(transfer, there["bookings"], there["transfers"])
        assert values == [None if value is None else np.float32(value) for value in wanted], transfer


def test_both_ways_are_told(transferred: Project) -> None:
    (n, most) = transferred.json("features", "show", "activity")
    told = {(way["input"], tuple(way["entity"])) for way in n["ways"]}
    both = {("activity_n_7d", ("sender",)), ("receiver_activity_n_7d", ("receiver",))}
    assert told == both | {("busier", ("sender",)), ("busier", ("receiver",))}
    assert (n["models"], n["served"], most["models"]) == (["fraud"], {"fraud": [1]}, ["fraud"])
    (alone,) = transferred.json("features", "show", "receiver_activity_n_7d")
    assert (alone["name"], alone["ways"]) == ("activity_n_7d", n["ways"])
    said = transferred.run("features", "show", "activity_n_7d").out
    assert any(line.split() == ["receiver_activity_n_7d", "fraud", "receiver"] for line in said.splitlines()), said


def test_what_is_served_is_both_sides_and_equal_to_the_lake(transferred: Project, launch: Callable[..., Up]) -> None:
    up = launch(transferred)
    now = now_ms()
    for account, amounts in (("new1", (5.0,)), ("new2", (7.0, 3.0))):
        for amount in amounts:
            booking = {"booking_id": f"{account}-{amount}", "booked": now, "account": account, "amount": amount}
            assert up.serving.post("/events/bookings", booking)[0] < 300
    transfer = {"transfer_id": "sent", "asked": now, "sender": "new2", "receiver": "new1", "amount": 1.0}
    assert up.serving.post("/events/transfers", transfer)[0] < 300
    sides = {
        ("new1", "new2"): [1.0, 5.0, 2.0, 7.0, -1.0, 0.0, 1.0],
        ("new2", "new1"): [2.0, 7.0, 1.0, 5.0, 1.0, 1.0, 0.0],
        ("new2", "new2"): [2.0, 7.0, 2.0, 7.0, 0.0, 1.0, 1.0],
        ("new1", "?"): [1.0, 5.0, 0.0, None, 1.0, 0.0, 0.0],
    }
    until(lambda: not any(lag["unfolded"] for lag in transferred.json("features", "lag")["topics"].values()))
    ids: list[str] = []
    for number, (sender, receiver) in enumerate(sides):
        request = {"transfer_id": f"r{number}", "asked": now_ms(), "sender": sender, "receiver": receiver, "amount": 1.0}
        status, answer = up.serving.post("/predict/fraud", request)
        assert status == 200, answer
        ids.append(answer["id"])
    until(lambda: all(up.api.ask("GET", f"/api/receipts/{id}")[0] == 200 for id in ids), "no receipts")
    for id, values in zip(ids, sides.values(), strict=True):
        served = up.api.ask("GET", f"/api/receipts/{id}")[1]["inputs"]
        assert served == dict(zip(NAMES, values, strict=True))
        again = up.api.post(f"/api/receipts/{id}/replay", None)[1]
        assert (again["features_equal"], again["score_equal"]) == (True, True), again
    checked = transferred.json("features", "check")
    assert (checked["skew"]["fraud"]["predictions"], checked["incidents"]) == (len(sides), [])
    assert up.end() == 0
