"""Trainings that fail: what is said and recorded, and that the champion goes on serving."""

from pathlib import Path

import pytest
from tests.journeys import shop
from tests.journeys.journey import Project

BROKEN = """

never = sky.Source(Delivery, stream="never")
nobody = sky.Label(never, on="order_id", value=sky.col("delay") > 2, within="3d")
everybody = sky.Label(deliveries, on="order_id", value=sky.col("delay") > -1e6, within="3d")


@sky.model(requests=orders, label=is_late, features=[orders["amount"], recent])
def raises(X, y):
    return {}["no such parameter"]


@sky.model(requests=orders, label=is_late, features=[orders["amount"], recent])
def nothing(X, y):
    late(X, y)


@sky.model(requests=orders, label=is_late, features=[orders["amount"], recent])
def strange(X, y):
    class Oracle:
        classes_ = [False, True]

        def predict(self, X):
            return [False] * len(X)

        def predict_proba(self, X):
            return [[0.5, 0.5]] * len(X)

    return Oracle()


@sky.model(requests=orders, label=everybody, features=[orders["amount"], recent])
def one_class(X, y):
    return late(X, y)


@sky.model(requests=orders, label=nobody, features=[orders["amount"], recent])
def unlabelled(X, y):
    return late(X, y)


sky.Loop(raises)
"""


@pytest.fixture(scope="module")
def broken(trained_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The trained shop with models that cannot be trained."""
    import shutil

    directory = tmp_path_factory.mktemp("broken") / "shop"
    shutil.copytree(trained_shop, directory)
    project = Project(directory)
    project.write("shop.py", shop.PROJECT + BROKEN)
    project.json("apply")
    return project


def nothing_changed(project: Project, model: str, error: str) -> None:
    """The run is recorded as failed, with its error; no version is there; the champion of before is champion."""
    [run] = project.json("runs", model)
    assert (run["status"], run["version"]) == ("failed", None)
    assert error in run["error"]
    [listed] = project.json("models")
    assert (listed["version"]["model"], listed["version"]["number"], listed["champion"]) == ("late", 1, True)


def test_a_function_that_raises(broken: Project) -> None:
    refusal = broken.refused("train", "raises")
    assert "KeyError: 'no such parameter'" in refusal.error + refusal.tried
    assert 'return {}["no such parameter"]' in refusal.error + refusal.tried
    assert "site-packages" not in refusal.error + refusal.tried
    assert "skyloom/training" not in refusal.error + refusal.tried
    assert "shop.py" in refusal.error + refusal.tried + refusal.next
    nothing_changed(broken, "raises", "no such parameter")


def test_a_function_that_returns_nothing(broken: Project) -> None:
    refusal = broken.refused("train", "nothing")
    assert refusal.error == "nothing returned nothing"
    assert refusal.next == "let it end with: return model"
    nothing_changed(broken, "nothing", "nothing returned nothing")


def test_a_function_that_returns_what_cannot_be_packaged(broken: Project) -> None:
    refusal = broken.refused("train", "strange")
    assert refusal.error.endswith("Oracle cannot be converted to ONNX")
    assert "LightGBM" in refusal.next
    assert "scikit-learn" in refusal.next
    nothing_changed(broken, "strange", "Oracle")


def test_a_label_of_one_class(broken: Project) -> None:
    refusal = broken.refused("train", "one_class")
    assert "class" in refusal.error or "label" in refusal.error
    nothing_changed(broken, "one_class", refusal.error)


def test_a_label_that_never_arrives(broken: Project) -> None:
    refusal = broken.refused("train", "unlabelled")
    assert refusal.error == "no request of unlabelled has a label yet"
    assert f"{shop.ORDERS} requests" in refusal.tried
    assert refusal.next == "skyloom ingest never, or check the label's on= and within="
    nothing_changed(broken, "unlabelled", "no request of unlabelled has a label yet")


def test_wrong_words(broken: Project) -> None:
    refusal = broken.refused("train", "lte")
    assert refusal.error == "there is no model 'lte'"
    assert "late" in refusal.next
    assert "sets nothing" in broken.refused("train", "late", "--set", "x", code=2).error
    assert "strength" in broken.refused("train", "late", "--set", "strength=1").error
