"""One row at a time, at the least cost: inputs and output that stay where they are, known to ONNX Runtime once."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.package.signature import MISSING_STRING, Signature

Value = float | int | str | bool | None


class SingleRow:
    """The inputs of one row of a session, used again for each one. For one thread.

    Where all inputs are numbers and the model answers a float32 [1], ONNX Runtime reads and writes these arrays in place
    (its I/O binding): the same operators on the same numbers as by `run`, without what that does around them.
    """

    def __init__(self, session: Any, signature: Signature, used: frozenset[str]) -> None:
        inputs = signature.inputs
        self._session, self._signature, self._outputs = session, signature, [signature.output]
        self._numbers: Any = np.zeros(sum(not each.is_text for each in inputs), np.float32)
        self._texts = [np.full((1, 1), MISSING_STRING, object) for each in inputs if each.is_text]
        places, cells = iter(self._numbers.reshape(-1, 1, 1)), iter(self._texts)
        feed: dict[str, NDArray[Any]] = {each.name: next(cells) if each.is_text else next(places) for each in inputs}
        self._feed = {name: array for name, array in feed.items() if name in used}
        self._layout = struct.Struct(f"{len(self._numbers)}f")
        self._bytes = memoryview(self._numbers).cast("B")
        self._score = np.zeros(1, np.float32)
        self._binding: Any = None
        self._first = True

    def score(self, values: Sequence[Value]) -> float:
        """The score of a row: its values in the order of the signature, ``None`` for what is missing."""
        self._fill(values)
        if self._binding is not None:
            self._session.run_with_iobinding(self._binding)
            return float(self._score[0])
        answer = self._session.run(self._outputs, self._feed)[0]
        if self._first:
            self._first = False
            self._bind(answer)
        return float(answer[0])

    def _fill(self, values: Sequence[Value]) -> None:
        if not self._texts and None not in values and len(values) == len(self._numbers):
            try:
                self._layout.pack_into(self._bytes, 0, *values)
            except OverflowError:
                pass
            else:
                return
        self._fill_one_by_one(values)

    def _fill_one_by_one(self, values: Sequence[Value]) -> None:
        position, text = 0, 0
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite, as in training
            for each, value in zip(self._signature.inputs, values, strict=True):
                if each.is_text:
                    self._texts[text][0, 0] = MISSING_STRING if value is None else value
                    text += 1
                else:
                    self._numbers[position] = np.nan if value is None else value
                    position += 1

    def _bind(self, answer: NDArray[Any]) -> None:
        """Bind the arrays, if this model's answer to a row is one float32."""
        if self._texts or answer.shape != (1,) or answer.dtype != np.float32:
            return
        binding = self._session.io_binding()
        for name, array in self._feed.items():
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        binding.bind_output(self._outputs[0], "cpu", 0, np.float32, (1,), self._score.ctypes.data)
        self._binding = binding
