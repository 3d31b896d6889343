"""What a packaged model takes and gives."""

import msgspec

from skyloom.kernel.schema import Type

MISSING_STRING = ""
"""How a missing string reaches a model. An empty string therefore means "missing", in training as in serving."""

SCORE = "score"
"""The one output (``:score`` when a column is called ``score``): float32 [rows], the probability of a true label, or the
value of a regression."""


class Input(msgspec.Struct, frozen=True):
    """One column of X. ``STRING`` is a tensor(string) of shape [rows, 1]; every other type a tensor(float), NaN: missing."""

    name: str
    type: Type

    @property
    def is_text(self) -> bool:
        """Whether the model takes it as strings."""
        return self.type is Type.STRING


class Signature(msgspec.Struct, frozen=True):
    """The inputs in order, and the task: ``binary`` or ``regression``.

    >>> Signature((Input("carrier", Type.STRING), Input("distance", Type.FLOAT)), "binary").names
    ('carrier', 'distance')
    """

    inputs: tuple[Input, ...]
    task: str

    @property
    def output(self) -> str:
        """The name of the output."""
        return f":{SCORE}" if SCORE in self.names else SCORE

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs' names, in order."""
        return tuple(each.name for each in self.inputs)
