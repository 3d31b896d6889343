from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.cost import admit, cost_of, estimate, month_of, spend_by_month, spent
from skyloom.kernel.money import Money
from skyloom.kernel.records.registry import Run

PRICE = Money.of(0.36)
APRIL = 1_364_774_400_000  # 2013-04-01T00:00:00Z


def run(model: str, started_ms: int, cpu_seconds: float, status: str = "done") -> Run:
    return Run("r", model, status, started_ms, cpu_seconds=cpu_seconds)


@given(st.floats(0, 1e7), st.integers(0, 10**9))
def test_a_cost_is_exact_to_half_a_millionth(cpu_seconds: float, micros: int):
    exact = Fraction(cpu_seconds) * micros / 3600
    assert abs(cost_of(cpu_seconds, Money(micros)).micros - exact) <= Fraction(1, 2) + exact / 2**50


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**13), st.floats(0, 1e6)), max_size=20))
def test_the_parts_of_the_bill_add_up_to_its_lines(rows: list[tuple[str, int, float]]):
    runs = [run(*row) for row in rows]
    bill = spend_by_month(runs, PRICE)
    assert sum(amount.micros for amount in bill.values()) == sum(cost_of(row[2], PRICE).micros for row in rows)
    for model, month in bill:
        assert spent(runs, model, month, PRICE) == bill[model, month]


def test_months_end_at_midnight_utc():
    assert (month_of(APRIL - 1), month_of(APRIL)) == ("2013-03", "2013-04")
    runs = [run("a", APRIL - 1, 3600), run("a", APRIL, 7200), run("b", APRIL, 360, "failed")]
    assert spend_by_month(runs, PRICE) == {
        ("a", "2013-03"): Money.of(0.36),
        ("a", "2013-04"): Money.of(0.72),
        ("b", "2013-04"): Money.of(0.036),
    }
    assert spent(runs, "c", "2013-04", PRICE) == Money(0)


def test_the_estimate_is_the_dearest_of_the_last_five_that_ended_well():
    runs = [run("a", moment, 100.0 * moment) for moment in (9, 1, 2, 3, 4, 5)]
    assert estimate(runs[1:], "a", PRICE) == cost_of(500, PRICE)
    assert estimate([run("a", 0, 1e6), *runs, run("a", 10, 1e6, "failed"), run("b", 10, 1e6)], "a", PRICE) == cost_of(
        900, PRICE
    )
    assert estimate([], "a", PRICE) == Money(0)


amounts = st.integers(0, 10**6).map(Money)


@given(amounts, amounts, amounts)
def test_a_run_is_admitted_exactly_when_it_fits(budget: Money, spent_already: Money, next_run: Money):
    fits = spent_already.micros + next_run.micros <= budget.micros
    used_up = spent_already.micros == budget.micros > 0
    assert (admit(budget, spent_already, next_run) is None) == (fits and not used_up)


def test_no_budget_admits_and_nothing_spent_of_nothing_is_fine():
    assert admit(None, Money.of(1e9), Money.of(1)) is None
    assert admit(Money(0), Money(0), Money(0)) is None


def test_currencies_are_not_mixed():
    with pytest.raises(ValueError, match="EUR"):
        admit(Money.of(20, "EUR"), Money.of(1), Money.of(1))
