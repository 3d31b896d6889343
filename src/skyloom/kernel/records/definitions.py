"""What a project declares, compiled to data: the form that is planned, recorded, packaged and served.

Each definition is frozen and its `content_id` names its meaning: equal declarations have equal ids.
"""

import msgspec

from skyloom.kernel.expr import Expression
from skyloom.kernel.schema import Schema, Type

MODES = ("as_available", "as_served", "as_event")
"""What the requests of a training set see: what was visible at their moment; served requests alone, with exactly what they
were served; all that had happened before their moment, however late it came in. See `skyloom.features.offline.dataset`."""


class SourceDef(msgspec.Struct, frozen=True):
    """Where events of one type come from: a table (file or folder), and a stream of the same type."""

    name: str
    schema: Schema
    table: str | None = None
    stream: str | None = None
    delay_ms: int = 0
    """How long after its time an imported row counts as known (imported history carries no arrival times)."""
    doc: str = ""
    limits: dict[str, float] = {}
    """The greatest magnitude that sums over a column can take; a row beyond it breaks the contract."""


LIFETIME = 2**52
"""The length and the hop (ms) of a window over all there ever was: one tile holds what is after 1970, one what is before."""


class AggregateDef(msgspec.Struct, frozen=True):
    """One windowed feature: ``kind`` of ``column`` over ``[floor(t - window, hop), as-of)``, of the events for which
    ``where`` is true.

    With ``offset_ms`` it is the window of an earlier moment: ``[floor(t - offset - window, hop), floor(t - offset,
    hop))``, of what is visible now. A list gives its ``entry``, counted from 1, a quantile the one of ``q``.
    """

    name: str
    kind: str
    column: str | None
    window_ms: int
    hop_ms: int
    where: Expression | None = None
    offset_ms: int = 0
    size: int = 0
    """Entries that a list keeps; values that are told apart exactly; buckets into which a power of two is cut."""
    entry: int = 0
    q: float = 0.0


class FeatureGroupDef(msgspec.Struct, frozen=True):
    """The windowed aggregates of one source by one entity: a column, or several that name it together.

    With ``attributes`` it is an entity table instead, without aggregates: the source's events are versions of rows, and a
    request sees these columns of the newest version that was visible (see `skyloom.features.tables`).

    ``scales`` maps each summed column to the decimal digits that its sums keep.
    """

    name: str
    source: str
    by: tuple[str, ...]
    aggregates: tuple[AggregateDef, ...]
    scales: dict[str, int]
    lateness_ms: int
    doc: str = ""
    attributes: tuple[str, ...] = ()


class LookupDef(msgspec.Struct, frozen=True):
    """Columns that a request is given from the entity table ``group`` before anything else is made of it.

    ``entity`` are the columns that hold the table's key: the request's own, or those of a lookup before. The new columns are
    called ``{name}.{attribute}``. A receipt keeps what a lookup saw under ``SOURCE@{name}``: two lookups in one source may
    have seen different moments.
    """

    name: str
    group: str
    entity: tuple[str, ...]


class FeatureRef(msgspec.Struct, frozen=True):
    """A windowed feature: the ``aggregate`` of ``group``, looked up by the columns ``entity`` in the order of its ``by``.

    ``way`` is what expressions call the group where these are other columns than those of ``by``.
    """

    group: str
    aggregate: str
    entity: tuple[str, ...]
    way: str = ""

    @property
    def column(self) -> str:
        """What expressions call it."""
        return f"{self.way or self.group}.{self.aggregate}"


class InputDef(msgspec.Struct, frozen=True):
    """One column of X, in order.

    Exactly one of ``expression`` (a value of the request, computed with the windowed features that it ``reads``) and
    ``group`` (the windowed feature ``name`` without its ``group.`` prefix is in that group) is set. ``entity`` are the
    request columns that hold the entity's key, in the order of the group's ``by``.
    """

    name: str
    type: Type
    expression: Expression | None = None
    group: str | None = None
    aggregate: str | None = None
    entity: tuple[str, ...] | None = None
    reads: tuple[FeatureRef, ...] = ()

    @property
    def features(self) -> tuple[FeatureRef, ...]:
        """The windowed features behind it: itself, or those that it is computed with."""
        return self.reads if self.group is None else (FeatureRef(self.group, str(self.aggregate), self.entity or ()),)


class LabelDef(msgspec.Struct, frozen=True):
    """The outcome: ``value`` over an event of ``source`` whose column ``on`` equals the request's key, within a bound."""

    source: str
    on: str
    value: Expression
    within_ms: int


class SearchDef(msgspec.Struct, frozen=True):
    """Hyperparameters to try: name -> (low, high, "log" or "linear", integer)."""

    trials: int
    space: dict[str, tuple[float, float, str, bool]]


class GateDef(msgspec.Struct, frozen=True):
    """One gate: ``kind`` names the check in `skyloom.delivery.gates`; ``by`` is its bound in the metric's own unit."""

    kind: str
    metric: str | None = None
    column: str | None = None
    by: float = 0.0
    limit_ms: float | None = None


class StageDef(msgspec.Struct, frozen=True):
    """One stage of a rollout: ``kind`` is ``shadow``, ``canary`` or ``full``; ``share`` in percent of the units."""

    kind: str
    share: float = 0.0
    for_ms: int = 0
    units: int = 0


class TriggerDef(msgspec.Struct, frozen=True):
    """What starts a retraining: ``kind`` is ``every``, ``performance`` or ``drift``."""

    kind: str
    every_ms: int = 0


class LoopDef(msgspec.Struct, frozen=True):
    """How a model lives."""

    gates: tuple[GateDef, ...] = ()
    rollout: tuple[StageDef, ...] = ()
    retrain: tuple[TriggerDef, ...] = ()
    search: SearchDef | None = None
    budget_micros: int | None = None
    budget_per: str | None = None


class LogbookDef(msgspec.Struct, frozen=True):
    """What is kept of predictions: of a share of the requests (``sample``, by their keys), without the columns ``redact``,
    and with a keyed hash instead of those of ``hashed``. ``when_full`` says what happens when receipts cannot be kept:
    ``drop`` (they are dropped and counted) or ``refuse`` (no prediction is made without one).
    """

    sample: float = 1.0
    redact: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    when_full: str = "drop"


class ModelDef(msgspec.Struct, frozen=True):
    """A model: the requests it answers, its inputs in order, its label, its function (by reference) and its loop."""

    name: str
    requests: str
    inputs: tuple[InputDef, ...]
    label: LabelDef
    function: str
    source_digest: str
    parameters: dict[str, float | int | str | bool]
    metrics: tuple[str, ...]
    task: str
    loop: LoopDef
    doc: str = ""
    history: str = "as_available"
    """What the requests of a training set see: one of `MODES`."""
    lookups: tuple[LookupDef, ...] = ()
    """In an order in which each can be made."""
    logbook: LogbookDef = LogbookDef()
    max_latency_ms: int = 0
    """Within how long a request is answered, or refused (0: no promise)."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that its inputs and its lookups read, each once."""
        named = [*(each.group for each in self.lookups), *(ref.group for each in self.inputs for ref in each.features)]
        return tuple(dict.fromkeys(named))


class ProjectDef(msgspec.Struct, frozen=True):
    """Everything a project declares."""

    name: str
    sources: dict[str, SourceDef]
    groups: dict[str, FeatureGroupDef]
    models: dict[str, ModelDef]
