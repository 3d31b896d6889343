"""X as the training function gets it."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from skyloom.kernel.errors import DeclarationError, TrainingError
from skyloom.kernel.records.definitions import InputDef
from skyloom.kernel.schema import Type
from skyloom.training.frame import categories_of, frame_of, labelled, labels_of, signature_of, times_ms


def test_numbers_are_float32_and_strings_categories(table, model):
    signature = signature_of(model.inputs, model.task)
    X = frame_of(table, signature, categories_of(table, signature))
    assert [str(kind) for kind in X.dtypes] == ["category", "float32", "float32", "float32"]
    assert list(X["carrier"].cat.categories) == ["AA", "DL", "UA", "WN"]
    assert X["recent_delay"].isna().sum() == table["recent_delay"].null_count
    assert X["weekend"].tolist() == [float(value) for value in table["weekend"].to_pylist()]


def test_an_empty_string_is_missing_and_new_categories_follow_the_known_ones():
    signature = signature_of([InputDef("carrier", Type.STRING)], "binary")
    X = frame_of(pa.table({"carrier": ["UA", "", None, "ZZ", "AA"]}), signature, {"carrier": ["UA", "WN"]})
    assert list(X["carrier"].cat.categories) == ["UA", "WN", "AA", "ZZ"]
    assert X["carrier"].cat.codes.tolist() == [0, -1, -1, 3, 2]


def test_numbers_beyond_float32_are_infinite():
    signature = signature_of([InputDef("a", Type.FLOAT), InputDef("b", Type.INT)], "binary")
    X = frame_of(pa.table({"a": [1e300, -1e300, None], "b": pa.array([2**62, None, 1])}), signature, {})
    assert X["a"].tolist()[:2] == [np.inf, -np.inf]
    assert X["b"].tolist()[0] == float(np.float32(2**62))
    assert X.isna().sum().tolist() == [1, 1]


def test_rows_without_a_label_are_left_out_and_the_rest_is_in_order_of_time(table, model):
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    none = pa.array([None] * 10, pa.bool_())
    shuffled = shuffled.set_column(4, "label", pa.concat_arrays([none, *shuffled["label"][10:].chunks]))
    rows = labelled(shuffled, model)
    assert rows.num_rows == table.num_rows - 10
    assert (np.diff(times_ms(rows)) > 0).all()


def test_tables_that_cannot_teach_are_refused(table, model):
    with pytest.raises(TrainingError, match="no labelled row"):
        labelled(table.slice(0, 0), model)
    with pytest.raises(TrainingError, match="no column miles"):
        labelled(table.drop_columns(["miles"]), model)
    with pytest.raises(TrainingError, match="true or false"):
        labels_of(pa.table({"label": [0.0, 1.0, 2.0]}), "binary")
    with pytest.raises(DeclarationError, match=r"sky\.hour"):
        signature_of([InputDef("at", Type.TIMESTAMP)], "binary")


def test_labels_are_int8_or_float64():
    assert labels_of(pa.table({"label": [True, False]}), "binary").equals(pd.Series([1, 0], dtype="int8"))
    assert labels_of(pa.table({"label": [1.5, 2.0]}), "regression").dtype == "float64"
