"""Will this customer cancel when the subscription comes up for renewal? Visits tell, weeks before."""

import skyloom as sky


class Renewal(sky.Event):
    """A subscription comes up for renewal: what is known when somebody asks."""

    renewal_id: str = sky.key()
    due: sky.Timestamp = sky.time()
    customer_id: str
    plan: str
    price: float
    months: int


class Visit(sky.Event):
    """A customer used the product."""

    visit_id: str = sky.key()
    at: sky.Timestamp = sky.time()
    customer_id: str
    minutes: float
    asked_support: bool


class Decision(sky.Event):
    """The customer renewed, or cancelled: known some days after the renewal was due."""

    renewal_id: str = sky.key()
    decided: sky.Timestamp = sky.time()
    cancelled: bool


renewals = sky.Source(Renewal, table="data/renewals.parquet", stream="renewals")
visits = sky.Source(Visit, table="data/visits.parquet", stream="visits")
decisions = sky.Source(Decision, table="data/decisions.parquet", stream="decisions")

cancels = sky.Label(decisions, on="renewal_id", value=sky.col("cancelled"), within="10d")

activity = sky.Features(
    visits,
    by="customer_id",
    visits=sky.count(over=["7d", "28d"]),
    minutes=sky.mean("minutes", over=["28d"]),
)


@sky.model(requests=renewals, label=cancels, features=[renewals["plan", "price", "months"], activity])
def churn(X, y, *, strength: float = 1.0):
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [name for name in X.columns if name != "plan"]
    columns = ColumnTransformer(
        [
            ("plan", OneHotEncoder(handle_unknown="ignore"), ["plan"]),
            ("numbers", make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), StandardScaler()), numbers),
        ]
    )
    return make_pipeline(columns, LogisticRegression(C=strength, max_iter=1000)).fit(X, y)


sky.Loop(
    churn,
    gates=[sky.better_than_champion("roc_auc"), sky.latency_p99("5ms")],
    rollout=[sky.shadow("1d"), sky.canary(5, 25, 50), sky.full()],
    retrain=[sky.every("28d"), sky.when_drift()],
)
