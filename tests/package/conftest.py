"""Small models, fitted once."""

import hashlib
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from skyloom.kernel.errors import NotFound
from skyloom.kernel.schema import Type
from skyloom.package import Input, Signature
from skyloom.training.convert import convert

sys.path.insert(0, str(Path(__file__).parent))

SIGNATURE = Signature((Input("carrier", Type.STRING), Input("miles", Type.FLOAT), Input("hour", Type.INT)), "binary")


class MemoryObjects:
    """Objects in a dictionary."""

    def __init__(self):
        self.kept = {}

    def put(self, content):
        name = hashlib.sha256(content).hexdigest()
        self.kept[name] = content
        return name

    def get(self, digest):
        if digest not in self.kept:
            raise NotFound(digest)
        return self.kept[digest]


@pytest.fixture
def objects():
    return MemoryObjects()


@pytest.fixture(scope="session")
def signature():
    return SIGNATURE


@pytest.fixture(scope="session")
def frame():
    random = np.random.default_rng(0)
    carriers = pd.Categorical(random.choice(["AA", "DL", "UA", None], 2000), categories=["AA", "DL", "UA"])
    miles = random.normal(800, 300, 2000).astype(np.float32)
    miles[::7] = np.nan
    return pd.DataFrame({"carrier": carriers, "miles": miles, "hour": random.integers(0, 24, 2000).astype(np.float32)})


@pytest.fixture(scope="session")
def trees(frame):
    y = ((frame["carrier"] == "UA") | (frame["miles"] > 900)).astype("int8")
    return lightgbm.LGBMClassifier(n_estimators=20, num_leaves=15, verbose=-1, n_jobs=1).fit(frame, y)


@pytest.fixture(scope="session")
def trees_onnx(trees):
    return convert(trees, SIGNATURE)


@pytest.fixture(scope="session")
def linear_onnx(frame):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]), (SimpleImputer(), ["miles", "hour"])
    )
    y = (frame["carrier"] == "UA").astype("int8")
    return convert(make_pipeline(encode, LogisticRegression(max_iter=300)).fit(frame, y), SIGNATURE)
