"""What a prediction was made of, and what became of it."""

import msgspec


class Receipt(msgspec.Struct, frozen=True):
    """Everything that one prediction was made of.

    ``inputs`` are the values of the model's inputs in order (null is ``None``); ``as_of`` maps each feature source to
    the offset before which its events were visible; ``score`` is the probability of the label (or the value, in a
    regression), ``None`` when the model broke (then ``error`` says how). ``arm`` is ``champion``, ``canary``,
    ``shadow``, or ``pinned`` (the caller named the version: no evidence for a rollout).
    """

    id: str
    model: str
    version: int
    release: str
    arm: str
    unit: str
    key: str
    at_ms: int
    """The request's own moment: ``t`` of its features."""
    logged_ms: int
    inputs: tuple[float | int | str | bool | None, ...]
    as_of: dict[str, int]
    request: dict[str, float | int | str | bool | None]
    score: float | None
    latency_ms: float
    error: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """A prediction as the judge sees it. ``kind`` is ``served`` (when answered) or ``labelled`` (when its label came)."""

    kind: str
    receipt: str
    model: str
    version: int
    arm: str
    unit: str
    at_ms: int
    score: float | None
    latency_ms: float
    error: str | None = None
    label: float | None = None
    labelled_ms: int | None = None
    release: str = ""
    """The release that answered: it says with which share of the units the arm was drawn."""


def predictions_topic(model: str) -> str:
    """The log topic, and the lake table, of a model's receipts."""
    return f"predictions/{model}"
