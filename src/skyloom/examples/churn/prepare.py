"""The data of the churn example: customers made up by rule, the same in every run."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skyloom.kernel.units import DAY, HOUR

START_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
CUSTOMERS = 700
MONTHS = 12
MONTH_MS = 30 * DAY
SEED = 20250101

PLANS = ("basic", "plus", "team")
PRICES = (9.0, 19.0, 49.0)
_MOMENT = pa.timestamp("ms", tz="UTC")

Rows = list[dict[str, Any]]


def prepare(directory: Path) -> None:
    """Write ``data/renewals.parquet``, ``data/visits.parquet`` and ``data/decisions.parquet``."""
    import pyarrow.parquet as pq

    data = directory / "data"
    data.mkdir(exist_ok=True)
    for name, table in tables().items():
        pq.write_table(table, data / f"{name}.parquet", compression="zstd")


def tables() -> dict[str, pa.Table]:
    """The three tables by name, each in order of time."""
    random = np.random.default_rng(SEED)
    renewals: Rows = []
    visits: Rows = []
    decisions: Rows = []
    for customer in range(CUSTOMERS):
        _live(f"c{customer:04}", random, renewals, visits, decisions)
    return {
        "renewals": _table(renewals, "due"),
        "visits": _table(visits, "at"),
        "decisions": _table(decisions, "decided"),
    }


def _live(customer: str, random: np.random.Generator, renewals: Rows, visits: Rows, decisions: Rows) -> None:
    """One customer, month by month, until the decision to leave.

    ``interest`` wanders (and tires a little); the visits of a month and the odds of leaving both follow it:
    ``log odds = -0.6 - 1.6 * interest`` (less for those who pay for a team).
    """
    plan = int(random.choice(3, p=(0.5, 0.35, 0.15)))
    interest = random.normal(0.9, 0.7)
    joined = START_MS + int(random.integers(0, MONTH_MS))
    for month in range(1, MONTHS):
        due = joined + month * MONTH_MS
        visits += _visits(customer, due - MONTH_MS, interest, random)
        renewal = f"{customer}-{month:02}"
        renewals.append(
            {
                "renewal_id": renewal,
                "due": due,
                "customer_id": customer,
                "plan": PLANS[plan],
                "price": PRICES[plan],
                "months": month,
            }
        )
        cancelled = bool(random.random() < _chance(-0.6 - 1.6 * interest - 0.4 * (plan == 2)))
        decided = due + int(random.integers(1 * DAY, 5 * DAY))
        decisions.append({"renewal_id": renewal, "decided": decided, "cancelled": cancelled})
        if cancelled:
            return
        interest += random.normal(-0.08, 0.35)


def _visits(customer: str, start: int, interest: float, random: np.random.Generator) -> Rows:
    """The visits of one month: a Poisson number that grows with interest, at any moment of it."""
    count = int(random.poisson(2.2 * np.exp(0.6 * interest)))
    return [
        {
            "visit_id": f"{customer}-{at}-{number}",
            "at": at,
            "customer_id": customer,
            "minutes": round(float(random.gamma(2.0, 4.0 * np.exp(0.3 * interest))), 1),
            "asked_support": bool(random.random() < _chance(-2.0 - interest)),
        }
        for number, at in enumerate(sorted(int(at) for at in random.integers(start, start + MONTH_MS - HOUR, count)))
    ]


def _chance(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))


def _table(rows: Rows, time: str) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    place = table.column_names.index(time)
    return table.set_column(place, time, table.column(time).cast(_MOMENT)).sort_by(time)
