"""Whether a run may start: a decision without I/O."""

from skyloom.kernel.money import Money


def admit(budget: Money | None, spent: Money, estimate: Money) -> str | None:
    """Why a run must not start, or ``None`` when it may. All amounts of one period and one currency.

    Raises `ValueError` for amounts of different currencies.

    >>> admit(Money.of(20), Money.of(19.5), Money.of(1))
    'the budget of 20.00 USD would be exceeded: 19.50 USD are spent and this run is estimated at 1.00 USD'
    >>> admit(Money.of(20), Money.of(19), Money.of(1)) is None
    True
    """
    if budget is None:
        return None
    total = spent + estimate
    if total.currency != budget.currency:
        raise ValueError(f"cannot compare {total.currency} with {budget.currency}")
    if spent.micros >= budget.micros and (spent.micros or estimate.micros):
        return f"the budget of {budget} is used up: {spent} are spent"
    if total.micros > budget.micros:
        return f"the budget of {budget} would be exceeded: {spent} are spent and this run is estimated at {estimate}"
    return None
