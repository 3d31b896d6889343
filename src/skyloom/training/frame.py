"""The training table as what a training function takes: X, a pandas DataFrame, and y, a Series."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.kernel.errors import DeclarationError, TrainingError
from skyloom.kernel.records.definitions import InputDef, ModelDef
from skyloom.kernel.schema import Type
from skyloom.package.signature import MISSING_STRING, Input, Signature
from skyloom.package.tables import numbers, texts

pc: Any = _compute

LABEL, TIME = "label", "t"


def signature_of(inputs: Sequence[InputDef], task: str) -> Signature:
    """What a model of these columns of X takes.

    >>> signature_of([InputDef("distance", Type.FLOAT)], "binary").names
    ('distance',)
    """
    times = [each.name for each in inputs if each.type is Type.TIMESTAMP]
    if times:
        raise DeclarationError(f"a time cannot be a column of X: {', '.join(times)}", fix='take it apart: sky.hour("...")')
    return Signature(tuple(Input(each.name, each.type) for each in inputs), task)


def labelled(table: pa.Table, model: ModelDef) -> pa.Table:
    """The rows that have a label, in order of time; `TrainingError` when there is none or a column is missing."""
    missing = [name for name in (*(each.name for each in model.inputs), LABEL, TIME) if name not in table.column_names]
    if missing:
        raise TrainingError(f"the training table has no column {', '.join(missing)}", tried=", ".join(table.column_names))
    rows = table.filter(pc.is_valid(table[LABEL]))
    if not rows.num_rows:
        raise TrainingError(
            f"{model.name} has no labelled row to learn from",
            tried=f"{table.num_rows} rows",
            fix="bring in rows and their outcomes",
        )
    return rows.take(pc.sort_indices(rows, sort_keys=[(TIME, "ascending")]))


def times_ms(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows' moments in milliseconds since 1970, UTC; int64 [rows]."""
    return table[TIME].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()


def labels_of(table: pa.Table, task: str) -> Any:
    """y: int8 (0, 1) of a binary task, float64 of a regression; a Series [rows]."""
    import pandas as pd

    values = numbers(table[LABEL])
    if task == "binary" and not np.isin(values, (0.0, 1.0)).all():
        raise TrainingError("a binary label must be true or false", fix='compare it, as in sky.col("delay") > 15')
    return pd.Series(values, name=LABEL, dtype="int8" if task == "binary" else "float64")


def categories_of(table: pa.Table, signature: Signature) -> dict[str, list[str]]:
    """The distinct strings of each column of strings, sorted; missing ones left out."""
    found = {each.name: pc.unique(table[each.name]).to_pylist() for each in signature.inputs if each.is_text}
    return {name: sorted(value for value in values if value and value != MISSING_STRING) for name, values in found.items()}


def frame_of(table: pa.Table, signature: Signature, categories: Mapping[str, Sequence[str]]) -> Any:
    """X of the table: a DataFrame [rows, inputs]; numbers float32 (missing: NaN), strings ``category``.

    A column's categories are ``categories`` in their order, followed by those that the table has beyond them.
    An empty string is a missing one.
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    own = categories_of(table, signature)
    for each in signature.inputs:
        if each.is_text:
            known = list(categories[each.name])
            more = sorted(set(own[each.name]) - set(known))
            columns[each.name] = pd.Categorical(_present(texts(table[each.name])), categories=known + more)
        else:
            with np.errstate(over="ignore"):
                columns[each.name] = numbers(table[each.name]).astype(np.float32)
    return pd.DataFrame(columns)


def _present(values: Any) -> Any:
    return np.where(values == MISSING_STRING, None, values)
