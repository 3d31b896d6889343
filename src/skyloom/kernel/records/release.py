"""What serving obeys, and how a rollout stands."""

import msgspec

from skyloom.kernel.records.definitions import FeatureGroupDef, ModelDef, SourceDef


class Arm(msgspec.Struct, frozen=True):
    """One version in a release. ``share`` is in hundredths of a percent (0 to 10,000) of the units; shadow arms have 0."""

    version: int
    package: str
    share: int
    role: str
    """``champion``, ``canary`` or ``shadow``."""


class Route(msgspec.Struct, frozen=True):
    """How one model is served: its arms, the salt of the sticky hash, and its definition."""

    model: ModelDef
    arms: tuple[Arm, ...]
    salt: str


class KeyDigest(msgspec.Struct, frozen=True):
    """An API key as it is stored: its public prefix, the SHA-256 of the whole key, what it may do, and how often it may ask
    a serving machine, a second and a day (UTC); 0: as often as it likes."""

    prefix: str
    sha256: str
    scopes: tuple[str, ...]
    per_second: float = 0.0
    per_day: int = 0


class Release(msgspec.Struct, frozen=True):
    """The immutable manifest that serving obeys. Its id is the digest of its signed bytes; ``number`` counts up; ``before``
    is the id of the release that it replaced (empty: the first)."""

    number: int
    created_ms: int
    reason: str
    actor: str
    routes: dict[str, Route]
    sources: dict[str, SourceDef]
    groups: dict[str, FeatureGroupDef]
    keys: tuple[KeyDigest, ...]
    before: str = ""


class SignedRelease(msgspec.Struct, frozen=True):
    """A release's bytes with an Ed25519 signature over them."""

    release: bytes
    signature: bytes
    key_id: str


class Guard(msgspec.Struct, frozen=True):
    """The evidence of one guard: first bad events by arm, and the two e-processes over them (natural logarithms).

    ``log_harm`` is against a risk ratio of 1, one entry for each ratio tried (large: roll back); ``log_safe`` against the
    margin (large: promote). ``looks`` counts the canary's units at their first look, ``bad_looks`` the bad ones among them.
    """

    name: str
    canary_events: int = 0
    stable_events: int = 0
    expected: float = 0.0
    """How many of all these events an equal version would have had in the canary."""
    log_harm: tuple[float, ...] = ()
    log_safe: float = 0.0
    looks: int = 0
    bad_looks: int = 0


class Pairs(msgspec.Struct, frozen=True):
    """The evidence of paired labels: both losses summed over ``count`` units, and the logarithms of the capitals that bet
    on harm and on safety, one for each size of a bet."""

    count: int = 0
    champion_loss: float = 0.0
    challenger_loss: float = 0.0
    log_harm: tuple[float, ...] = ()
    log_safe: tuple[float, ...] = ()


class Rollout(msgspec.Struct, frozen=True):
    """One challenger on its way.

    ``state`` is ``shadow``, ``canary``, ``promoted``, ``rolled_back``, ``held`` or ``aborted``.
    """

    id: str
    model: str
    champion: int | None
    challenger: int
    salt: str
    state: str
    stage: int
    stage_started_ms: int
    started_ms: int
    units_canary: int = 0
    units_stable: int = 0
    stage_units: int = 0
    shadow_units: int = 0
    requests: int = 0
    guards: tuple[Guard, ...] = ()
    reason: str = ""
    finished_ms: int | None = None
    stable_p99_ms: float | None = None
    position: int = 0
    """How far the outcomes have been judged: an offset into the model's stream of outcomes."""
    start: int = 0
    """The offset at which it began."""
    last_ms: int = 0
    """The newest moment that the judge has seen."""
    ratio: Guard = Guard("sample_ratio")
    """Whether the arms get the share of new units that the releases promised: canary and stable units."""
    shadow_errors: int = 0
    pairs: Pairs = Pairs()
    """The labels of the champion's answers and of their copies to the challenger."""


class RetrainState(msgspec.Struct, frozen=True):
    """Where a model stands between two trainings.

    ``state`` is ``healthy``, ``suspect``, ``data_check``, ``data_blocked``, ``train``, ``offline_gate``, ``shadow``,
    ``canary``, ``bake``, ``cooldown`` or ``human``. ``promotions_ms`` are the moments of the promotions of the last
    30 days; ``rejections`` counts failures in a row.
    """

    state: str = "healthy"
    since_ms: int = 0
    reason: str = ""
    trained_ms: int | None = None
    promotions_ms: tuple[int, ...] = ()
    rejections: int = 0
