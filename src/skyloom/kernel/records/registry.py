"""What training leaves behind: runs, versions, the champion's history."""

import msgspec


class Split(msgspec.Struct, frozen=True):
    """A time-ordered split of a training set: rows of requests at or after ``cut_ms`` are the holdout."""

    cut_ms: int
    train_rows: int
    holdout_rows: int
    first_ms: int
    last_ms: int


class DataVersion(msgspec.Struct, frozen=True):
    """Exactly which data: the training table and its version, and the source tables' versions it was made from.

    ``definition`` names what was asked for, ``digest`` that together with the versions; ``mode`` is what requests saw.
    """

    table: str
    version: int
    digest: str
    sources: dict[str, int]
    mode: str = "as_available"
    definition: str = ""


class Run(msgspec.Struct, frozen=True):
    """One training run: ``status`` is ``running``, ``done`` or ``failed``."""

    id: str
    model: str
    status: str
    started_ms: int
    finished_ms: int | None = None
    parameters: dict[str, float | int | str | bool] = {}
    metrics: dict[str, float] = {}
    data: DataVersion | None = None
    split: Split | None = None
    commit: str | None = None
    definition: str = ""
    cpu_seconds: float = 0.0
    version: int | None = None
    error: str | None = None


class GateResult(msgspec.Struct, frozen=True):
    """What one gate said: its measured value beside its limit, and why."""

    gate: str
    passed: bool
    measured: str
    limit: str
    reason: str


class Override(msgspec.Struct, frozen=True):
    """A person let a version pass that its gates refused: who, when, why."""

    by: str
    at_ms: int
    reason: str


class Version(msgspec.Struct, frozen=True):
    """A trained, packaged, immutable result. ``package`` is the digest of its package manifest."""

    model: str
    number: int
    run: str
    package: str
    created_ms: int
    gates: tuple[GateResult, ...] = ()
    gated: bool = False
    override: Override | None = None

    @property
    def may_serve(self) -> bool:
        """Whether its gates passed, or a person overrode them on the record."""
        return self.gated or self.override is not None


class Package(msgspec.Struct, frozen=True):
    """The manifest of a packaged model: every file by the digest of its bytes, and what is needed to answer.

    ``files`` maps a file's name (``model.onnx``, ``signature.json``, ``card.json``, ``golden.json``) to its digest.
    """

    model: str
    format: str
    files: dict[str, str]
    definition: str
    groups: dict[str, str]
    threshold: float
    run: str
