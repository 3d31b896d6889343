"""Expressions of a request, unit-tested by their users: the numbers are worked out by hand."""

from math import sqrt
from typing import Any

import pytest

import skyloom as sky
from skyloom.kernel.errors import DataError, DeclarationError, UsageError

HOUR = 3_600_000


class Payment(sky.Event):
    id: str = sky.key()
    at: sky.Timestamp = sky.time()
    card: str
    country: str
    amount: float = sky.field(precision=2)


class CardChange(sky.Event):
    id: str = sky.key()
    since: sky.Timestamp = sky.time()
    card: str
    customer: str
    limit: float


class Move(sky.Event):
    id: str = sky.key()
    moved: sky.Timestamp = sky.time()
    customer: str
    country: str


payments, changes, moves = sky.Source(Payment), sky.Source(CardChange), sky.Source(Move)
spent = sky.Features(payments, by="card", n=sky.count(over=["1h", "1d"]), mean=sky.mean("amount", over=["1d"]),
                     spread=sky.stddev("amount", over=["1d"]))  # fmt: skip
cards, customers = sky.Table(changes, by="card"), sky.Table(moves, by="customer")
home = customers.of(cards["customer"])


def paid(number: int, hour: float, amount: float, **values: Any) -> dict[str, Any]:
    return {"id": f"p{number}", "at": int(hour * HOUR), "card": "c7", "country": "DE", "amount": amount, **values}


WORLD = (
    sky.testing.given(payments, [paid(1, 20, 10.0), paid(2, 21, 20.0), paid(3, 23.75, 60.0)])
    .also(changes, [{"id": "k1", "since": 0, "card": "c7", "customer": "u1", "limit": 200.0}])
    .also(moves, [{"id": "m1", "moved": 0, "customer": "u1", "country": "FR"}])
)


def test_a_score_against_history_and_a_ratio_of_windows():
    found = WORLD.row(
        payments,
        paid(9, 24, 100.0),
        ((sky.col("amount") - spent["mean_1d"]) / spent["spread_1d"]).named("z"),
        (spent["n_1h"] / spent["n_1d"]).named("burst"),
        sky.hour("at"),
    )
    assert found == {"z": 70.0 / sqrt(700.0), "burst": 1 / 3, "at_hour": 0}


def test_rows_of_tables_key_by_key():
    found = WORLD.row(
        payments,
        paid(9, 24, 50.0),
        (sky.col("amount") / cards["limit"]).named("share"),
        (sky.col("country") != home["country"]).named("abroad"),
    )
    assert found == {"share": 0.25, "abroad": True}


def test_one_group_in_two_ways():
    other = sky.Features(changes, by="customer", n=sky.count(over=["1d"]))
    owner, friend = other.of(cards["customer"]), other.of(sky.col("country"), prefix="friend")
    found = WORLD.row(payments, paid(9, 24, 50.0), (owner["n_1d"] + 10 * friend["n_1d"]).named("both"))
    assert found == {"both": 1.0}
    found = WORLD.row(payments, paid(9, 24, 50.0, country="u1"), (owner["n_1d"] + 10 * friend["n_1d"]).named("both"))
    assert found == {"both": 11.0}


def test_what_is_not_known_is_null_and_what_is_not_finite_too():
    unknown = paid(9, 24, 1e308, card="other")
    found = WORLD.row(
        payments,
        unknown,
        (sky.col("amount") / spent["n_1d"]).named("none"),
        (sky.col("amount") * 100).named("infinite"),
        home["country"].is_null().named("homeless"),
    )
    assert found == {"none": None, "infinite": None, "homeless": True}


def test_a_request_is_asked_at_its_own_time():
    n = spent["n_1d"].named("n")
    assert [WORLD.row(payments, paid(9, hour, 1.0), n)["n"] for hour in (20, 21, 23.75, 24)] == [0, 1, 2, 3]


def test_what_is_refused():
    with pytest.raises(UsageError, match="without a name"):
        WORLD.row(payments, paid(9, 24, 1.0), sky.col("amount") + 1)
    with pytest.raises(DataError, match="amount"):
        WORLD.row(payments, {**paid(9, 24, 1.0), "amount": "much"}, sky.col("amount"))
    with pytest.raises(DeclarationError, match="amonut"):
        WORLD.row(payments, paid(9, 24, 1.0), sky.col("amonut"))
    with pytest.raises(UsageError, match=r"no column 'limti'(?s:.)*did you mean limit\?"):
        WORLD.row(payments, paid(9, 24, 1.0), cards["limti"].named("limit"))
    with pytest.raises(UsageError, match="no column 'card'"):
        WORLD.row(moves, {"id": "m2", "moved": 5, "customer": "u1", "country": "FR"}, spent["n_1d"].named("n"))
