"""The project that the measures of serving serve: a linear model and a forest of ten numbers, a forest of thirty, a linear
one and a forest of thirty of whose predictions hardly any are kept, and a linear one with features looked up beside its
ten numbers.

What two of them learned is left beside the project for peers, the forest without its imputer: they never see a missing
number, and are the faster for it.
"""

from pathlib import Path

import skyloom as sky

HERE = Path(__file__).parent
NUMBERS, MANY = 10, 30


def event(name, numbers, **more):
    """A declared event with ``numbers`` columns x0, x1 ..."""
    columns = {"id": str, "at": sky.Timestamp, **more, **{f"x{at}": float for at in range(numbers)}}
    return type(name, (sky.Event,), {"__annotations__": columns, "__doc__": name, "id": sky.key(), "at": sky.time()})


Row = event("Row", NUMBERS)
Wide = event("Wide", MANY)
Visited = event("Visited", NUMBERS, customer=str)


class Visit(sky.Event):
    """A customer did something: what the looked-up features are made of."""

    visit: str = sky.key()
    at: sky.Timestamp = sky.time()
    customer: str
    minutes: float


class Outcome(sky.Event):
    """What became of a request."""

    id: str = sky.key()
    at: sky.Timestamp = sky.time()
    y: float


rows = sky.Source(Row, table="data/rows.parquet", stream="rows")
wides = sky.Source(Wide, table="data/wides.parquet", stream="wides")
visiteds = sky.Source(Visited, table="data/visiteds.parquet", stream="visiteds")
visits = sky.Source(Visit, table="data/visits.parquet", stream="visits")
outcomes = sky.Source(Outcome, table="data/outcomes.parquet", stream="outcomes")

value = sky.Label(outcomes, on="id", value=sky.col("y"), within="1d")
recent = sky.Features(
    visits, by="customer", visits=sky.count(over=["1h", "24h"]), minutes=sky.mean("minutes", over=["24h", "7d"])
)
ten = [f"x{at}" for at in range(NUMBERS)]
thirty = [f"x{at}" for at in range(MANY)]


def kept(name, estimator):
    """The estimator, which is written down for those who serve it otherwise."""
    import joblib

    joblib.dump(estimator, HERE / f"{name}.joblib")
    return estimator


@sky.model(
    requests=rows,
    label=value,
    features=[rows[tuple(ten)]],
    task="regression",
    metrics=("mae",),
    logbook=sky.Logbook(sample=0.0001),
)
def unlogged(X, y):
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(X.to_numpy(), y)


@sky.model(requests=rows, label=value, features=[rows[tuple(ten)]], task="regression", metrics=("mae",))
def linear(X, y):
    from sklearn.linear_model import LinearRegression

    return kept("linear", LinearRegression().fit(X.to_numpy(), y))


@sky.model(requests=rows, label=value, features=[rows[tuple(ten)]], task="regression", metrics=("mae",))
def forest(X, y):
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    trees = kept("forest", RandomForestRegressor(100, max_depth=10, random_state=1).fit(X.to_numpy(), y))
    return make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0).fit(X.to_numpy()), trees)


@sky.model(requests=wides, label=value, features=[wides[tuple(thirty)]], task="regression", metrics=("mae",))
def wide(X, y):
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    trees = RandomForestRegressor(100, max_depth=10, random_state=1)
    return make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), trees).fit(X.to_numpy(), y)


@sky.model(
    requests=wides,
    label=value,
    features=[wides[tuple(thirty)]],
    task="regression",
    metrics=("mae",),
    logbook=sky.Logbook(sample=0.0001),
)
def wide_unlogged(X, y):
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    trees = RandomForestRegressor(100, max_depth=10, random_state=1)
    return make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), trees).fit(X.to_numpy(), y)


@sky.model(requests=visiteds, label=value, features=[visiteds[tuple(ten)], recent], task="regression", metrics=("mae",))
def looked_up(X, y):
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), LinearRegression()).fit(X.to_numpy(), y)
