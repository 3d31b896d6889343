"""Answers rows with a packaged model: ONNX Runtime, called in process."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.errors import PackageError
from skyloom.package.inspection import inspect_model
from skyloom.package.joined import joined
from skyloom.package.ordering import ordering_of
from skyloom.package.signature import MISSING_STRING, Input, Signature
from skyloom.package.single import SingleRow, Value

__all__ = ["Scorer", "Value"]


class Scorer:
    """A model that answers. Safe for threads; no row's answer depends on which rows it is asked together with.

    Models of trees, encoders and single operations are run a batch at a time; any other one (matrix products may differ in
    the last bits with the size of the batch) a row at a time, unless somebody has found ``blocks``: sizes of which it is
    known that rows of a run have the bits that they have alone, on this machine (`skyloom.serving.batch_cost`).

    Raises `PackageError` for bytes that are no such model, or need more than the standard operators.
    """

    def __init__(self, model: bytes, signature: Signature) -> None:
        self.signature = signature
        inspection = inspect_model(model)
        self.rowwise, self.separable = inspection.rowwise, inspection.separable
        self._session = _session(model)
        self._check_inputs()
        self._outputs = [signature.output]
        self._ordering = ordering_of(model, self._numbers()) if self.rowwise else None
        self._joined = self._joined_of(model)
        self._local = threading.local()
        self.blocks: tuple[int, ...] = ()
        """Sizes of runs, the largest first; to be set before anybody else has this scorer."""

    def _check_inputs(self) -> None:
        kinds = {"tensor(string)": True, "tensor(float)": False}
        found = {each.name: kinds.get(each.type) for each in self._session.get_inputs()}
        unlike = [each.name for each in self.signature.inputs if each.name in found and found[each.name] is not each.is_text]
        unlike += [name for name in found if name not in self.signature.names]
        outputs = [each.name for each in self._session.get_outputs()]
        if unlike or self.signature.output not in outputs:
            raise PackageError(f"the model does not fit its signature: inputs {unlike}, outputs {outputs}")
        self._used = frozenset(found)

    def _numbers(self) -> frozenset[str]:
        """The inputs that the model uses and that are numbers."""
        return frozenset(each.name for each in self.signature.inputs if not each.is_text and each.name in self._used)

    def _joined_of(self, model: bytes) -> tuple[Any, str] | None:
        """A session that is given a row whole, and what that is called there, where the model can be asked so."""
        names = self.signature.names
        found = joined(model, names) if self._numbers() == frozenset(names) else None
        if found is None:
            return None
        try:
            return _session(found.model), found.name
        except PackageError:
            return None

    def score_row(self, values: Sequence[Value]) -> float:
        """The score of one row: its values in the order of the signature, ``None`` for what is missing."""
        row: SingleRow | None = getattr(self._local, "row", None)
        if row is None:
            row = self._local.row = SingleRow(self._session, self.signature, self._used, self._joined)
        return row.score(values)

    def score_rows(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """The scores of rows, each as in `score_row` and equal to it, bit for bit."""
        if not rows:
            return []
        if len(rows) == 1 or not (self.rowwise or self.blocks):
            return [self.score_row(row) for row in rows]
        arrays = self._arrays(rows)
        return self.score(arrays).tolist()

    def score(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The scores of ``columns``: one array of n values for each input; float32 [n], the same bits as row by row."""
        feed = {each.name: _column(each, columns[each.name]) for each in self.signature.inputs}
        count = len(next(iter(feed.values())))
        feed = {name: array for name, array in feed.items() if name in self._used}
        if self.rowwise and count:
            return self._run_in_order(feed, count)
        scores, row = np.empty(count, np.float32), 0
        for size in self.blocks:
            while count - row >= size:
                scores[row : row + size] = self._run({name: array[row : row + size] for name, array in feed.items()})
                row += size
        single = ({name: array[row : row + 1] for name, array in feed.items()} for row in range(row, count))
        scores[row:] = np.fromiter((self._run(row)[0] for row in single), np.float32, count - row)
        return scores

    def score_together(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """The scores of rows (one or more) in one run, whatever the model: their bits may be others than those of
        `score_row`."""
        feed = {
            each.name: _column(each, array)
            for each, array in zip(self.signature.inputs, self._arrays(rows).values(), strict=True)
        }
        return self._run({name: array for name, array in feed.items() if name in self._used}).tolist()

    def _arrays(self, rows: Sequence[Sequence[Value]]) -> dict[str, NDArray[Any]]:
        """Rows by column; where there are no texts, one array of numbers."""
        names, columns = self.signature.names, zip(*rows, strict=True)
        if any(each.is_text for each in self.signature.inputs):
            return {name: _objects(column) for name, column in zip(names, columns, strict=True)}
        with np.errstate(over="ignore"):
            numbers = np.array(rows, np.float64).T.astype(np.float32, "C")
        return dict(zip(names, numbers, strict=True))

    def _run_in_order(self, feed: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.float32]:
        """One run of rows in the order in which they are answered soonest; the scores in that of ``feed``."""
        order = None if self._ordering is None else self._ordering.of(feed)
        if order is None:
            return self._run(feed)
        scores = np.empty(count, np.float32)
        scores[order] = self._run({name: array.take(order).reshape(-1, 1) for name, array in feed.items()})
        return scores

    def _run(self, feed: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        return self._session.run(self._outputs, feed)[0]


def load_runtime() -> Any:
    """ONNX Runtime, loaded when it is first needed."""
    import onnxruntime

    return onnxruntime


def _session(model: bytes) -> Any:
    onnxruntime = load_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # what was inspected, and no other reading of it
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base but this
        raise PackageError("ONNX Runtime cannot load the model", tried=str(error)) from error


def _objects(column: Sequence[Value]) -> NDArray[Any]:
    array = np.empty(len(column), object)
    array[:] = column
    return array


def _column(each: Input, array: NDArray[Any]) -> NDArray[Any]:
    """Values of one input as the model takes them: [n, 1], float32 with NaN or strings with `MISSING_STRING`."""
    if each.is_text:
        texts = [value if isinstance(value, str) else MISSING_STRING for value in array]
        return _objects(texts).reshape(-1, 1)
    if array.dtype == np.float32:
        return array.reshape(-1, 1)
    with np.errstate(over="ignore"):
        return array.astype(np.float64).astype(np.float32).reshape(-1, 1)
