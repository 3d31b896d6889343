"""Aggregates: what they are called, and what each refuses where it stands."""

from typing import Any

import pytest

import skyloom as sky
from skyloom.kernel.errors import DeclarationError

HOUR: dict[str, Any] = {"over": ["1h"]}


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: sky.sum("x", over="1h"), "is no list of windows"),
        (lambda: sky.sum("x", over=["soon"]), "'soon' is not a duration"),
        (lambda: sky.sum("x", over=["1h"], hop="lifetime"), "'lifetime' is not a duration"),
        (lambda: sky.sum("x", over=["1h"], offset="0d"), "a duration of '0d' is empty"),
        (lambda: sky.sum("x", over=["1h", "lifetime"], offset="1d"), "has no end in the past"),
        (lambda: sky.sum("x", where="x > 1", **HOUR), "where='x > 1' is no condition"),
        (lambda: sky.first_k("x", 0, **HOUR), "k=0"),
        (lambda: sky.last_k("x", 101, **HOUR), "k=101"),
        (lambda: sky.top_k("x", -1, **HOUR), "k=-1"),
        (lambda: sky.distinct("x", exact=5000, **HOUR), "exact=5000"),
        (lambda: sky.quantile("x", 1.5, **HOUR), "q=1.5 is no share"),
        (lambda: sky.quantile("x", [], **HOUR), "is no share"),
        (lambda: sky.quantile("x", 0.5, accuracy=0.0, **HOUR), "accuracy=0.0"),
        (lambda: sky.sum("x", over=3_600), "over=3600 is no list of windows"),  # type: ignore[arg-type]
        (lambda: sky.sum("x", over=[3_600]), "3600 is not a duration"),  # type: ignore[list-item]
        (lambda: sky.sum("x", over=["1000000000000d"]), "is longer than 10,000 years"),
        (lambda: sky.sum(None, **HOUR), "None names no column"),  # type: ignore[arg-type]
        (lambda: sky.count(5, **HOUR), "5 names no column"),  # type: ignore[arg-type]
        (lambda: sky.top_k("x", 1.5, **HOUR), "k=1.5"),  # type: ignore[arg-type]
        (lambda: sky.top_k("x", "3", **HOUR), "k='3'"),  # type: ignore[arg-type]
        (lambda: sky.distinct("x", exact=1.5, **HOUR), "exact=1.5"),  # type: ignore[arg-type]
        (lambda: sky.quantile("x", "0.5", **HOUR), "q='0.5' is no share"),  # type: ignore[arg-type]
        (lambda: sky.quantile("x", [0.5, True], **HOUR), "is no share"),
        (lambda: sky.quantile("x", 0.5, accuracy="fine", **HOUR), "accuracy='fine'"),  # type: ignore[arg-type]
    ],
)
def test_what_no_aggregate_can_be_is_refused(declare: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=said) as refused:
        declare()
    assert refused.value.fix


def test_a_condition_looks_at_the_event_alone() -> None:
    class Payment(sky.Event):
        id: str = sky.key()
        at: sky.Timestamp = sky.time()
        card: str

    cards = sky.Features(sky.Source(Payment), by="card", n=sky.count(over=["1h"]))
    with pytest.raises(DeclarationError, match="the columns of the event alone"):
        sky.count(over=["1h"], where=cards["n_1h"] > 3)


@pytest.mark.parametrize(
    ("aggregate", "names"),
    [
        (sky.mean("x", over=["1h", "lifetime"]), ["a_1h", "a_lifetime"]),
        (sky.first_k("x", 2, **HOUR), ["a_1_1h", "a_2_1h"]),
        (sky.last("x", **HOUR), ["a_1h"]),
        (sky.quantile("x", 0.5, **HOUR), ["a_1h"]),
        (sky.quantile("x", [0, 0.29, 0.999], **HOUR), ["a_p0_1h", "a_p29_1h", "a_p99_9_1h"]),
    ],
)
def test_the_names_of_features(aggregate: Any, names: list[str]) -> None:
    assert aggregate.names("a") == names


@pytest.mark.parametrize(("accuracy", "parts"), [(0.01, 50), (0.02, 25), (0.1, 5), (0.25, 2), (0.001, 500)])
def test_buckets_are_as_fine_as_the_accuracy_asks(accuracy: float, parts: int) -> None:
    assert sky.quantile("x", 0.5, accuracy=accuracy, **HOUR).size == parts
    assert 1 / (2 * parts + 1) <= accuracy < 1 / (2 * parts - 1)
