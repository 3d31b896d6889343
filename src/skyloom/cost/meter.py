"""What runs cost: the processor time that they took, at the profile's price of a core-hour."""

from collections.abc import Iterable
from datetime import UTC, datetime

from skyloom.kernel.money import Money
from skyloom.kernel.records.registry import Run

_RECENT = 5


def cost_of(cpu_seconds: float, price_per_core_hour: Money) -> Money:
    """``cpu_seconds / 3600 * price``, rounded to the nearest millionth (half to even).

    >>> str(cost_of(1800.0, Money.of(0.08)))
    '0.04 USD'
    """
    return Money(round(cpu_seconds * price_per_core_hour.micros / 3600), price_per_core_hour.currency)


def month_of(at_ms: int) -> str:
    """The calendar month (UTC) of a moment in milliseconds since 1970.

    >>> month_of(1364788800000)
    '2013-04'
    """
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m")


def spend_by_month(runs: Iterable[Run], price_per_core_hour: Money) -> dict[tuple[str, str], Money]:
    """The cost of all runs by (model, month of their start); failed runs cost what they took."""
    totals: dict[tuple[str, str], Money] = {}
    for run in runs:
        place = (run.model, month_of(run.started_ms))
        nothing = Money(0, price_per_core_hour.currency)
        totals[place] = totals.get(place, nothing) + cost_of(run.cpu_seconds, price_per_core_hour)
    return dict(sorted(totals.items()))


def spent(runs: Iterable[Run], model: str, month: str, price_per_core_hour: Money) -> Money:
    """What a model has cost in a month (as `month_of` writes it)."""
    nothing = Money(0, price_per_core_hour.currency)
    return spend_by_month(runs, price_per_core_hour).get((model, month), nothing)


def estimate(runs: Iterable[Run], model: str, price_per_core_hour: Money) -> Money:
    """What the next run of a model may cost: the dearest of its last five that ended well; nothing is known of a first."""
    done = sorted((run for run in runs if run.model == model and run.status == "done"), key=lambda run: run.started_ms)
    return cost_of(max((run.cpu_seconds for run in done[-_RECENT:]), default=0.0), price_per_core_hour)
