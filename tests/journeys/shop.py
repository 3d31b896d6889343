"""A small project: will an order of a shop arrive late? Its data is made by rule."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HOUR = 3_600_000
START_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
ORDERS = 600

SETTINGS = """
[local.serving]
port = 0
[local.api]
port = 0
"""

PROJECT = '''"""Will an order arrive late?"""

import skyloom as sky


class Order(sky.Event):
    order_id: str = sky.key()
    placed: sky.Timestamp = sky.time()
    shop: str
    amount: float


class Delivery(sky.Event):
    order_id: str = sky.key()
    delivered: sky.Timestamp = sky.time()
    shop: str
    delay: float


orders = sky.Source(Order, table="orders.parquet", stream="orders")
deliveries = sky.Source(Delivery, table="deliveries.parquet", stream="deliveries")

is_late = sky.Label(deliveries, on="order_id", value=sky.col("delay") > 2, within="3d")

recent = sky.Features(
    deliveries,
    by="shop",
    delay=sky.mean("delay", over=["1d", "7d"]),
    deliveries=sky.count(over=["1d"]),
)


@sky.model(requests=orders, label=is_late, features=[orders["amount"], recent])
def late(X, y):
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), LogisticRegression()).fit(X, y)


sky.Loop(late, gates=[sky.at_least("roc_auc", 0.6)], rollout=[sky.shadow("1d"), sky.full()])
'''


def create(directory: Path) -> None:
    """Write the project and its two tables into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "shop.py").write_text(PROJECT)
    (directory / "skyloom.toml").write_text(SETTINGS)
    for name, table in tables().items():
        pq.write_table(table, directory / f"{name}.parquet")


def tables() -> dict[str, pa.Table]:
    """``orders`` and ``deliveries``: an order is placed each hour, and some shops are late more often."""
    random = np.random.default_rng(7)
    shops = random.integers(0, 4, ORDERS)
    placed = START_MS + HOUR * np.arange(ORDERS)
    amounts = random.gamma(2.0, 20.0, ORDERS).round(2)
    delays = (0.8 * shops + amounts / 60 + random.normal(0, 0.8, ORDERS)).round(2)
    ids, names = [f"o{number}" for number in range(ORDERS)], [f"shop{shop}" for shop in shops]
    return {
        "orders": pa.table({"order_id": ids, "placed": moments(placed), "shop": names, "amount": amounts}),
        "deliveries": pa.table({"order_id": ids, "delivered": moments(placed + 6 * HOUR), "shop": names, "delay": delays}),
    }


def moments(values: object) -> pa.Array:
    """Milliseconds as a column of moments."""
    return pa.array(values, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
