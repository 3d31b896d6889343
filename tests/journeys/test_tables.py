"""Entity tables from end to end: a card, its customer, and what the customer did, in training and in served requests."""

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

PROJECT = '''"""Will a payment be charged back?"""

import skyloom as sky


class Payment(sky.Event):
    payment_id: str = sky.key()
    paid: sky.Timestamp = sky.time()
    card: str
    amount: float


class Outcome(sky.Event):
    payment_id: str = sky.key()
    told: sky.Timestamp = sky.time()
    charged_back: bool


class CardChange(sky.Event):
    change: str = sky.key()
    since: sky.Timestamp = sky.time()
    card: str
    customer: str | None
    limit: float | None


class Move(sky.Event):
    move: str = sky.key()
    since: sky.Timestamp = sky.time()
    customer: str
    country: str


class Login(sky.Event):
    login: str = sky.key()
    at: sky.Timestamp = sky.time()
    customer: str


payments = sky.Source(Payment, table="payments.parquet", stream="payments")
outcomes = sky.Source(Outcome, table="outcomes.parquet")
card_changes = sky.Source(CardChange, table="card_changes.parquet", stream="card_changes")
moves = sky.Source(Move, table="moves.parquet", stream="moves")
logins = sky.Source(Login, table="logins.parquet", stream="logins")

cards = sky.Table(card_changes, by="card")
customers = sky.Table(moves, by="customer")
recent = sky.Features(logins, by="customer", logins=sky.count(over=["7d"]))
is_bad = sky.Label(outcomes, on="payment_id", value=sky.col("charged_back"), within="3d")

owner = customers.of(cards["customer"])


@sky.model(
    requests=payments,
    label=is_bad,
    features=[
        payments["amount"],
        cards["limit"],
        (sky.col("amount") / cards["limit"]).named("share"),
        owner["country"],
        recent.of(cards["customer"]),
    ],
)
def bad(X, y):
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=5, num_leaves=4, verbosity=-1).fit(X, y)


sky.Loop(bad, gates=[sky.at_least("roc_auc", 0.0)], rollout=[sky.full()])
'''
COUNT, CARDS, CUSTOMERS = 600, 12, 5


def tables() -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(3)
    paid = START_MS + HOUR * np.arange(COUNT)

    def at(count: int) -> Any:
        return START_MS + random.integers(-24 * HOUR, COUNT * HOUR, count)

    def of(kind: str, count: int, most: int) -> list[str]:
        return [f"{kind}{number}" for number in random.integers(0, most, count).tolist()]

    ids = [f"p{number}" for number in range(COUNT)]
    amounts = random.gamma(2.0, 20.0, COUNT).round(2)
    limits = [None if number == 0 else 100.0 * number for number in random.integers(0, 5, 60).tolist()]
    return {
        "payments": {"payment_id": ids, "paid": paid, "card": of("card", COUNT, CARDS + 2), "amount": amounts},
        "outcomes": {"payment_id": ids, "told": paid + 6 * HOUR, "charged_back": (amounts > 40).tolist()},
        "card_changes": {
            "change": [f"c{number}" for number in range(60)],
            "since": at(60),
            "card": of("card", 60, CARDS),
            "customer": of("customer", 60, CUSTOMERS + 1),
            "limit": limits,
        },
        "moves": {
            "move": [f"m{number}" for number in range(30)],
            "since": at(30),
            "customer": of("customer", 30, CUSTOMERS),
            "country": of("land", 30, 4),
        },
        "logins": {"login": [f"l{n}" for n in range(300)], "at": at(300), "customer": of("customer", 300, CUSTOMERS)},
    }


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with all its history and a champion."""
    directory: Path = tmp_path_factory.mktemp("tables") / "payments"
    directory.mkdir()
    project = Project(directory)
    project.write("payments.py", PROJECT)
    project.write("skyloom.toml", SETTINGS)
    for name, columns in tables().items():
        made = {key: moments(value) if key in ("paid", "told", "since", "at") else value for key, value in columns.items()}
        pq.write_table(pa.table(made), directory / f"{name}.parquet")
    project.json("apply")
    for name in tables():
        project.json("ingest", name)
    project.json("train", "bad")
    return project


def newest(rows: list[dict[str, Any]], time: str, key: str, entity: Any, t: int) -> dict[str, Any]:
    """The newest row of an entity before ``t``; of equally old ones the later one."""
    mine = [(row[time], index, row) for index, row in enumerate(rows) if row[key] == entity and row[time] < t]
    return max(mine)[2] if mine else {}


def test_a_training_set_has_the_rows_of_each_moment(paid: Project) -> None:
    there = {name: [dict(zip(c, row, strict=True)) for row in zip(*c.values(), strict=True)] for name, c in tables().items()}
    found = {row["key"]: row for row in dataset("bad", paid.directory).to_dict("records")}
    assert len(found) == COUNT
    for payment in there["payments"]:
        t = int(payment["paid"])
        card = newest(there["card_changes"], "since", "card", payment["card"], t)
        customer, limit = card.get("customer"), card.get("limit")
        country = newest(there["moves"], "since", "customer", customer, t).get("country")
        low = (t - 7 * 24 * HOUR) // HOUR * HOUR
        logins = sum(row["customer"] == customer and low <= row["at"] < t for row in there["logins"])
        row = found[payment["payment_id"]]
        share = None if limit is None else np.float32(payment["amount"] / limit)
        expected = [np.float32(payment["amount"]), limit, share, country, float(logins)]
        names = ["amount", "cards_limit", "share", "cards_customer_customers_country", "recent_logins_7d"]
        assert [None if row[name] != row[name] else row[name] for name in names] == expected, payment


def test_what_is_served_follows_the_rows_and_is_replayed(paid: Project, launch: Callable[..., Up]) -> None:
    up = launch(paid)
    now = now_ms()
    assert (
        up.serving.post("/events/moves", {"move": "new", "since": now, "customer": "somebody", "country": "land9"})[0] < 300
    )
    change = {"change": "new", "since": now, "card": "card1", "customer": "somebody", "limit": 50.0}
    assert up.serving.post("/events/card_changes", change)[0] < 300
    for number in range(3):
        login = {"login": f"new{number}", "at": now, "customer": "somebody"}
        assert up.serving.post("/events/logins", login)[0] < 300
    asked = 0

    def answered() -> Any:
        nonlocal asked
        asked += 1
        payment = {"payment_id": f"new{asked}", "paid": now_ms(), "card": "card1", "amount": 20.0}
        status, answer = up.serving.post("/predict/bad", payment)
        assert status == 200, answer
        receipt = until(lambda: _receipt(paid, answer["id"]), "no receipt")
        served = receipt["inputs"]
        return answer["id"] if list(served.values()) == [20.0, 50.0, 0.4, "land9", 3.0] else None

    id = until(answered, "the rows are not served")
    again = paid.json("replay", id)
    assert (again["features_equal"], again["score_equal"]) == (True, True), again
    assert up.end() == 0


def _receipt(project: Project, id: str) -> Any:
    said = project.run("receipt", id, "--json")
    if said.code:
        return None
    import json

    return json.loads(said.out)
