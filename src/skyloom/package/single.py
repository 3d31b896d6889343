"""One row at a time, at the least cost: inputs and output that stay where they are, known to ONNX Runtime once."""

import struct
from collections.abc import Callable, Sequence
from functools import partial
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.package.signature import MISSING_STRING, Signature

_ALIGNED = 64
Value = float | int | str | bool | None


class SingleRow:
    """The inputs of one row of a session, used again for each one. For one thread.

    Where all inputs are numbers and the model answers a float32 [1], ONNX Runtime reads and writes these arrays in place
    (its I/O binding): the same operators on the same numbers as by `run`, without what that does around them.
    """

    def __init__(
        self, session: Any, signature: Signature, used: frozenset[str], joined: tuple[Any, str] | None = None
    ) -> None:
        """``joined`` is a session of the same model that takes the numbers of a row as one array, and its name."""
        inputs = signature.inputs
        self._session, self._outputs, self._width = session, [signature.output], len(inputs)
        self._number_places = [place for place, each in enumerate(inputs) if not each.is_text]
        self._text_places = [place for place, each in enumerate(inputs) if each.is_text]
        self._numbers: Any = _aligned(len(self._number_places))
        self._joined = joined
        self._texts = [np.full((1, 1), MISSING_STRING, object) for _ in self._text_places]
        places, cells = iter(self._numbers.reshape(-1, 1, 1)), iter(self._texts)
        feed: dict[str, NDArray[Any]] = {each.name: next(cells) if each.is_text else next(places) for each in inputs}
        self._feed = {name: array for name, array in feed.items() if name in used}
        self._pack_into = struct.Struct(f"{len(self._numbers)}f").pack_into
        self._bytes = memoryview(self._numbers).cast("B")
        answer = np.zeros(1, np.float32)
        self._answer, self._score = answer, answer.data
        self._ask: Callable[[], Any] = partial(session.run, self._outputs, self._feed)
        self._run: Callable[[], object] | None = None
        self._first = True

    def score(self, values: Sequence[Value]) -> float:
        """The score of a row: its values in the order of the signature, ``None`` for what is missing."""
        if self._run is None:
            return self._scored(values)
        try:
            self._pack_into(self._bytes, 0, *values)
        except (OverflowError, struct.error):
            self._fill(values)
        self._run()
        return self._score[0]

    def _scored(self, values: Sequence[Value]) -> float:
        """The score by ``run``; from the first answer it is seen whether there is a shorter way."""
        self._fill(values)
        answer = self._ask()[0]
        if self._first:
            self._first = False
            self._ask = _asking(self._session, self._outputs, self._feed)
            self._bind(answer)
        return float(answer[0])

    def _fill(self, values: Sequence[Value]) -> None:
        if len(values) != self._width:
            raise ValueError(f"{len(values)} values for {self._width} inputs")
        for cell, place in zip(self._texts, self._text_places, strict=True):
            text = values[place]
            cell[0, 0] = MISSING_STRING if text is None else text
        numbers: list[Any] = [nan if (value := values[place]) is None else value for place in self._number_places]
        try:
            self._pack_into(self._bytes, 0, *numbers)
        except OverflowError:
            with np.errstate(over="ignore"):  # a number beyond float32 is infinite, as in training
                for place, number in enumerate(numbers):
                    self._numbers[place] = number

    def _bind(self, answer: NDArray[Any]) -> None:
        """Bind the arrays, if this model's answer to a row is one float32."""
        if self._texts or answer.shape != (1,) or answer.dtype != np.float32:
            return
        if self._joined is not None:
            session, name = self._joined
            run = self._with(session, {name: self._numbers.reshape(1, -1)})
            run()
            if self._answer.tobytes() == answer.tobytes():
                self._run = run
                return
        self._run = self._with(self._session, self._feed)

    def _with(self, session: Any, feed: dict[str, NDArray[Any]]) -> Callable[[], object]:
        """A run of a session that reads and writes these arrays in place."""
        binding = session.io_binding()
        for name, array in feed.items():
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        binding.bind_output(self._outputs[0], "cpu", 0, np.float32, (1,), self._answer.ctypes.data)
        return _bound(session, binding)


def _aligned(count: int) -> NDArray[np.float32]:
    """Zeros that begin where those begin that ONNX Runtime itself takes memory for: sums may be taken in another order where
    numbers lie otherwise."""
    room = np.zeros(count * 4 + _ALIGNED, np.uint8)
    first = -room.ctypes.data % _ALIGNED
    return room[first : first + count * 4].view(np.float32)


def _bound(session: Any, binding: Any) -> Callable[[], object]:
    """A run with what is bound. Python's wrapper around the compiled session takes as long as a small model, most of it for
    devices that are not used here; so it is passed by, where this version of ONNX Runtime is made so."""
    try:
        run, within = session._sess.run_with_iobinding, binding._iobinding
    except AttributeError:
        return partial(session.run_with_iobinding, binding)
    return partial(run, within, _options())


def _asking(session: Any, outputs: list[str], feed: dict[str, NDArray[Any]]) -> Callable[[], Any]:
    """A run with inputs that cannot be bound, as texts cannot; the wrapper is passed by as in `_bound`."""
    try:
        run = session._sess.run
    except AttributeError:
        return partial(session.run, outputs, feed)
    return partial(run, outputs, feed, _options())


def _options() -> Any:
    """The options of a run, which are made for each one that brings none."""
    import onnxruntime

    return onnxruntime.RunOptions()
