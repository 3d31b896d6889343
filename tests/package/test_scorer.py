"""A row gets the same bits alone and among others, whatever the model; missing values arrive as in training."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.errors import PackageError
from skyloom.kernel.schema import Type
from skyloom.package import Input, Scorer, Signature

_ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(["AA", "DL", "UA", "", "nobody", "é\u2047"])),
        st.one_of(st.none(), st.floats(allow_nan=False), st.floats(0, 2000), st.integers(-(2**60), 2**60), st.booleans()),
        st.one_of(st.none(), st.integers(0, 23)),
    ),
    min_size=1,
    max_size=40,
)


@pytest.fixture(scope="module", params=["trees_onnx", "linear_onnx"])
def scorer(request, signature):
    return Scorer(request.getfixturevalue(request.param), signature)


def test_both_ways_of_scoring_are_tried(signature, trees_onnx, linear_onnx):
    assert Scorer(trees_onnx, signature).rowwise
    assert not Scorer(linear_onnx, signature).rowwise


@settings(max_examples=150, deadline=None)
@given(rows=_ROWS)
def test_a_row_alone_and_in_any_batch_has_the_same_bits(scorer, rows):
    alone = [scorer.score_row(row) for row in rows]
    together = scorer.score_rows(rows)
    columns = zip(*rows, strict=True)
    arrays = {name: np.array(column, object) for name, column in zip(scorer.signature.names, columns, strict=True)}
    for given_ in (together, scorer.score(arrays).tolist()):
        assert np.array_equal(np.float64(alone), np.float64(given_), equal_nan=True)


def test_large_batches_have_the_bits_of_single_rows(scorer, frame):
    columns = {"carrier": frame["carrier"].astype(object).to_numpy(), "miles": frame["miles"].to_numpy(np.float64)}
    columns["hour"] = frame["hour"].to_numpy()
    rows = list(zip(*(column.tolist() for column in columns.values()), strict=True))
    rows = [tuple(None if isinstance(value, float) and math.isnan(value) else value for value in row) for row in rows]
    assert scorer.score(columns).tolist() == [scorer.score_row(row) for row in rows]


def test_a_package_answers_what_lightgbm_answers(trees, trees_onnx, signature, frame):
    given_ = Scorer(trees_onnx, signature).score({name: frame[name].astype(object).to_numpy() for name in signature.names})
    np.testing.assert_allclose(given_, trees.predict_proba(frame)[:, 1], atol=1e-6)


def test_no_rows_have_no_scores(scorer):
    assert scorer.score_rows([]) == []
    assert scorer.score({name: np.array([], object) for name in scorer.signature.names}).shape == (0,)


def test_threads_do_not_disturb_each_other(scorer):
    rows = [("UA", float(mile), mile % 24) for mile in range(400)]
    wanted = [scorer.score_row(row) for row in rows]
    with ThreadPoolExecutor(8) as pool:
        for given_ in [list(pool.map(scorer.score_row, rows)) for _ in range(5)]:
            assert given_ == wanted


def test_a_row_with_too_few_or_too_many_values_is_no_row(scorer):
    for row in (("UA", 1.0), ("UA", 1.0, 2, 3)):
        with pytest.raises(ValueError):
            scorer.score_row(row)


def test_a_model_that_does_not_fit_its_signature_is_refused(trees_onnx):
    swapped = Signature((Input("carrier", Type.FLOAT), Input("miles", Type.FLOAT), Input("hour", Type.INT)), "binary")
    with pytest.raises(PackageError, match="carrier"):
        Scorer(trees_onnx, swapped)
    with pytest.raises(PackageError, match="does not fit"):
        Scorer(trees_onnx, Signature((Input("carrier", Type.STRING),), "binary"))


def test_bytes_that_onnx_runtime_cannot_load_are_refused(signature, trees_onnx):
    with pytest.raises(PackageError):
        Scorer(trees_onnx.replace(b"BRANCH_EQ", b"BRANCH_XX"), signature)
