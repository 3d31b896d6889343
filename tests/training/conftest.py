"""A small table of departures with a rule behind the label, and the model that is declared over it."""

import numpy as np
import pyarrow as pa
import pytest

from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import InputDef, LabelDef, LoopDef, ModelDef
from skyloom.kernel.schema import Type

HOUR = 3_600_000


def make_table(rows: int = 3000, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    carrier = random.choice(["AA", "DL", "UA", "WN"], rows)
    miles = random.normal(900, 300, rows)
    delay = random.normal(10, 20, rows)
    odds = -2 + 0.06 * delay + (carrier == "UA") + 0.001 * (miles - 900)
    label = random.random(rows) < 1 / (1 + np.exp(-odds))
    columns = {
        "carrier": pa.array(carrier.tolist(), mask=random.random(rows) < 0.05),
        "miles": pa.array(miles),
        "weekend": pa.array(random.random(rows) < 0.3),
        "recent_delay": pa.array(delay, mask=random.random(rows) < 0.1),
        "label": pa.array(label),
        "t": pa.array(np.arange(rows) * HOUR, pa.timestamp("ms", "UTC")),
        "key": pa.array([f"k{row}" for row in range(rows)]),
    }
    return pa.table(columns)


def make_model(**changes) -> ModelDef:
    inputs = (
        InputDef("carrier", Type.STRING, expression=col("carrier").expression),
        InputDef("miles", Type.FLOAT, expression=col("miles").expression),
        InputDef("weekend", Type.BOOL, expression=col("weekend").expression),
        InputDef("recent_delay", Type.FLOAT, group="recent", aggregate="delay", entity=("carrier",)),
    )
    whole = {
        "name": "late",
        "requests": "departures",
        "inputs": inputs,
        "label": LabelDef("arrivals", "id", (col("delay") > 15).expression, HOUR),
        "function": "late.py:late",
        "source_digest": "s",
        "parameters": {"num_leaves": 15},
        "metrics": ("roc_auc",),
        "task": "binary",
        "loop": LoopDef(),
    }
    return ModelDef(**(whole | changes))


@pytest.fixture
def table():
    return make_table()


@pytest.fixture
def model():
    return make_model()


@pytest.fixture(scope="session")
def declare():
    return make_model


@pytest.fixture(scope="session")
def tabulate():
    return make_table


@pytest.fixture(scope="session")
def fit_trees():
    def trees(X, y, *, num_leaves=15, **more):
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=30, num_leaves=num_leaves, n_jobs=1, **more).fit(X, y)

    return trees
