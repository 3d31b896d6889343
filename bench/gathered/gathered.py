"""The project of the measure of batches: networks of two sizes, which learn next to nothing and cost what networks cost."""

import skyloom as sky

NUMBERS = 10
names = [f"x{at}" for at in range(NUMBERS)]


class Row(sky.Event):
    """A request of ten numbers."""

    __annotations__ = {"id": str, "at": sky.Timestamp, **dict.fromkeys(names, float)}
    id = sky.key()
    at = sky.time()


class Outcome(sky.Event):
    """What became of it."""

    id: str = sky.key()
    at: sky.Timestamp = sky.time()
    y: float


rows = sky.Source(Row, table="data/rows.parquet")
outcomes = sky.Source(Outcome, table="data/outcomes.parquet")
value = sky.Label(outcomes, on="id", value=sky.col("y"), within="1d")


def network(X, y, width, layers):
    """One step of learning: the cost of an answer is that of any network of this size."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        made = MLPRegressor(hidden_layer_sizes=(width,) * layers, max_iter=1, batch_size=len(X), random_state=1)
        return made.fit(X.to_numpy(), y)


@sky.model(requests=rows, label=value, features=[rows[tuple(names)]], task="regression", metrics=("mae",))
def small(X, y):
    return network(X, y, 1536, 3)


@sky.model(requests=rows, label=value, features=[rows[tuple(names)]], task="regression", metrics=("mae",))
def large(X, y):
    return network(X, y, 2048, 3)
