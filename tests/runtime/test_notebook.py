"""The functions of a notebook do what the commands do."""

import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pandas as pd
import pytest

import skyloom as sky
from skyloom.kernel.errors import DataError, NotFound
from skyloom.platform import Platform
from skyloom.registry.versions import list_versions
from skyloom.runtime.scoring import score
from skyloom.spec.project import load

MODEL = "churn"


def test_predictions_are_those_of_score(platform: Platform, tmp_path: Path):
    source = platform.directory / "data" / "renewals.parquet"
    rows = pd.read_parquet(source).iloc[50:60]
    found = sky.predict(MODEL, rows, platform.directory)
    score(platform, MODEL, str(source), str(tmp_path / "all.parquet"))
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), pd.read_parquet(tmp_path / "all.parquet").iloc[50:60].reset_index(drop=True)
    )
    assert list(found.index) == list(rows.index)
    again = sky.predict(MODEL, rows.to_dict("records"), str(platform.directory))
    assert again["score"].tolist() == found["score"].tolist()


def test_a_bad_row_has_an_error_and_a_missing_column_is_told(platform: Platform):
    rows = pd.read_parquet(platform.directory / "data" / "renewals.parquet").head(2)
    rows.loc[rows.index[0], "price"] = np.nan
    found = sky.predict(MODEL, rows, platform.directory)
    assert found["error"].iloc[0].startswith("price: ")
    assert np.isfinite(found["score"].iloc[1])
    with pytest.raises(DataError, match="plan"):
        sky.predict(MODEL, rows.drop(columns="plan"), platform.directory)


def test_the_training_set_has_the_columns_of_the_function(platform: Platform):
    frame: Any = sky.dataset(MODEL, platform.directory)
    assert list(frame.columns[:3]) == ["key", "t", "plan"]
    assert frame["plan"].dtype == "category"
    assert {str(frame[name].dtype) for name in frame.columns[3:-1]} == {"float32"}
    assert frame["t"].is_monotonic_increasing
    assert set(frame["label"]) == {0.0, 1.0}


def test_training_takes_a_model_or_its_name(platform: Platform):
    declared = load(platform.directory).models[MODEL]
    done = sky.train(declared, platform.directory, strength=0.5)
    assert done.run.parameters == {"strength": 0.5}
    assert [version.number for version in list_versions(platform.metadata, MODEL)] == [1, 2]
    with pytest.raises(NotFound, match="chrun"):
        sky.train("chrun", platform.directory)


def test_importing_loads_nothing_heavy():
    code = "import skyloom, sys; print(*sys.modules)"
    loaded = run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pandas", "pyarrow", "skyloom.runtime", "skyloom.platform"} & set(loaded)
