"""Sources, features, labels, models and loops: what each refuses where it stands."""

import subprocess
import sys

import pytest

import skyloom as sky
from skyloom.kernel.errors import DeclarationError


class Visit(sky.Event):
    id: str = sky.key()
    at: sky.Timestamp = sky.time()
    bought: bool


def _model():
    visits = sky.Source(Visit)
    label = sky.Label(visits, on="id", value=sky.col("bought"), within="1d")

    @sky.model(requests=visits, label=label, features=[sky.hour("at")])
    def buys(X, y, *, depth: int = 3):
        """Does a visit end with a purchase?"""
        return X, y, depth

    return buys


def test_a_model_is_still_its_function():
    model = _model()
    assert model(1, 2, depth=4) == (1, 2, 4)
    assert (model.__name__, model.__doc__) == ("buys", "Does a visit end with a purchase?")
    assert model.metrics == ("roc_auc",)


def test_a_model_has_one_loop():
    model = _model()
    loop = sky.Loop(model, gates=[sky.latency_p99("5ms")])
    assert model.loop is loop
    with pytest.raises(DeclarationError, match="buys has two loops"):
        sky.Loop(model)


def test_canary_is_a_stage_a_share():
    stages = sky.canary(1, 5, units=30, each="10m")
    assert [(s.kind, s.share, s.units, s.for_ms) for s in stages] == [
        ("canary", 1.0, 30, 600_000),
        ("canary", 5.0, 30, 600_000),
    ]


def test_a_range_is_whole_when_both_bounds_are():
    space = sky.Search(trials=2, a=(1, 9), b=(1, 9.0), c=(0.1, 1, "log")).space
    assert space == {"a": (1, 9, "linear", True), "b": (1, 9, "linear", False), "c": (0.1, 1, "log", False)}


@pytest.mark.parametrize(
    ("declare", "complaint"),
    [
        (lambda: sky.Source(Visit, delay="soon"), "'soon' is not a duration"),
        (lambda: sky.count(over="1h"), "no list of windows"),
        (lambda: sky.count(over=[]), "no list of windows"),
        (lambda: sky.mean("x", over=["1h", "tomorrow"]), "'tomorrow' is not a duration"),
        (lambda: sky.max("x", over=["1h"], hop="0s"), "is empty"),
        (lambda: sky.Features(sky.Source(Visit), by="id"), "aggregate nothing"),
        (lambda: sky.Features(sky.Source(Visit), by=(), n=sky.count(over=["1h"])), "names no entity"),
        (lambda: sky.Features(sky.Source(Visit), by=("id", "id"), n=sky.count(over=["1h"])), "names no entity"),
        (lambda: sky.Features(sky.Source(Visit), by="id", n="count"), "is no aggregate"),
        (lambda: sky.Features(sky.Source(Visit), by="id", lateness="x", n=sky.count(over=["1h"])), "'x' is not a duration"),
        (lambda: sky.Label(sky.Source(Visit), on="id", value=sky.col("bought"), within="?"), "is not a duration"),
        (lambda: sky.hour("at", tz="Mars/North"), "no time zone"),
        (lambda: sky.model(requests=None, label=None, features=[], task="guess"), "'guess' is no task"),
        (lambda: sky.model(requests=None, label=None, features=["carrier"]), "'carrier' is no feature"),
        (lambda: sky.model(requests=None, label=None, features=[], max_latency="soon"), "'soon' is not a duration"),
        (lambda: sky.model(requests=None, label=None, features=[], max_latency="0ms"), "is empty"),
        (lambda: sky.model(requests=None, label=None, features=[], max_latency="61s"), "promises nothing"),
        (lambda: sky.Loop(len), "is no model"),
        (lambda: sky.Search(trials=0, a=(1, 2)), "tries nothing"),
        (lambda: sky.Search(trials=3), "tries nothing"),
        (lambda: sky.Search(trials=3, a=(2, 1)), "is no range"),
        (lambda: sky.Search(trials=3, a=(float("nan"), 1)), "is no range"),
        (lambda: sky.Search(trials=3, a=(0, 1, "log")), "is no range"),
        (lambda: sky.Search(trials=3, a=(1, 2, "cubic")), "is no scale"),
        (lambda: sky.usd(20, per="year"), "cannot be kept"),
        (lambda: sky.usd(-1, per="month"), "is none"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(declare, complaint: str):
    with pytest.raises(DeclarationError, match=complaint.replace("?", r"\?")):
        declare()


def test_importing_skyloom_imports_nothing_heavy():
    heavy = [
        "numpy",
        "pandas",
        "pyarrow",
        "sklearn",
        "lightgbm",
        "onnx",
        "onnxruntime",
        "duckdb",
        "deltalake",
        "numba",
        "typer",
        "rich",
    ]
    code = f"import sys, skyloom; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_public_names_are_there():
    assert sky.__all__ == sorted(sky.__all__)
    assert all(hasattr(sky, name) for name in sky.__all__)


@pytest.mark.parametrize("by", [5, (5,), (), ("id", "id"), None])
def test_an_entity_is_named_by_columns(by):
    visits = sky.Source(Visit)
    with pytest.raises(DeclarationError, match="names no entity"):
        sky.Features(visits, by=by, n=sky.count(over=["1h"]))
    with pytest.raises(DeclarationError, match="names no entity"):
        sky.Table(visits, by=by)


def test_keys_are_columns():
    visits = sky.Table(sky.Source(Visit), by="id")
    with pytest.raises(DeclarationError, match="a key is needed for each of id"):
        visits.of("id")  # type: ignore[arg-type]
