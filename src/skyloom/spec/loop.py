"""Loops: how a model lives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.money import Money
from skyloom.kernel.records.definitions import GateDef, StageDef, TriggerDef
from skyloom.kernel.units import parse_duration
from skyloom.spec.model import Model

Range = tuple[float, float] | tuple[float, float, str]
Stages = StageDef | tuple[StageDef, ...]


@dataclass(frozen=True, eq=False, init=False)
class Search:
    """Hyperparameters to try: ``name=(low, high)`` or ``name=(low, high, "log")``; whole numbers when both bounds are ints.

    Raises `DeclarationError` for bounds that are none.

    >>> Search(trials=20, learning_rate=(0.01, 0.3, "log"), num_leaves=(8, 128)).space["num_leaves"]
    (8.0, 128.0, 'linear', True)
    """

    trials: int
    space: dict[str, tuple[float, float, str, bool]]

    def __init__(self, *, trials: int, **space: Range) -> None:
        if trials < 1 or not space:
            raise DeclarationError("a search tries nothing", fix="say sky.Search(trials=20, learning_rate=(0.01, 0.3))")
        object.__setattr__(self, "trials", trials)
        object.__setattr__(self, "space", {name: _range(name, bounds) for name, bounds in space.items()})


class Budget(msgspec.Struct, frozen=True):
    """An amount of money that may be spent ``per`` period."""

    amount: Money
    per: str


class Loop(msgspec.Struct, frozen=True, eq=False):
    """How ``model`` lives: what is searched, which gates a version passes, how it is rolled out, what starts a retraining.

    Without ``gates`` a version must beat the champion (or the base rate) on the model's first metric; without ``rollout``
    it goes through `canary` at 1, 5, 25 and 50 percent, then `full`. A model has at most one loop, else `DeclarationError`.
    """

    model: Model[Any, Any]
    search: Search | None = None
    gates: Sequence[GateDef] | None = None
    rollout: Sequence[Stages] | None = None
    retrain: Sequence[TriggerDef] = ()
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, Model):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{self.model!r} is no model", fix="put @sky.model(...) above the function")
        self.model.attach(self)


def better_than_champion(metric: str) -> GateDef:
    """A gate: ``metric`` is better than the champion's on the same rows, with 95% confidence."""
    return GateDef("better_than_champion", metric=metric)


def not_worse_than_champion(metric: str, *, by: float) -> GateDef:
    """A gate: ``metric`` is not worse than the champion's by more than ``by``, in the metric's own unit."""
    return GateDef("not_worse_than_champion", metric=metric, by=float(by))


def no_slice_worse(column: str, *, by: float) -> GateDef:
    """A gate: for no value of the request's ``column`` is the version worse than the champion by more than ``by``."""
    return GateDef("no_slice_worse", column=column, by=float(by))


def latency_p99(limit: str) -> GateDef:
    """A gate: 99% of single requests are answered by the packaged model within ``limit``.

    >>> latency_p99("5ms").limit_ms
    5.0
    """
    return GateDef("latency_p99", limit_ms=float(parse_duration(limit)))


def at_least(metric: str, value: float) -> GateDef:
    """A gate: ``metric`` (one of which more is better) is ``value`` or more."""
    return GateDef("at_least", metric=metric, by=float(value))


def shadow(length: str, *, units: int = 100) -> StageDef:
    """A stage: the version answers beside the champion, unseen, for ``length`` and at least ``units`` units."""
    return StageDef("shadow", for_ms=parse_duration(length), units=units)


def canary(*shares: float, units: int = 20, each: str | None = None) -> tuple[StageDef, ...]:
    """Stages: the version answers a growing share of the units, in percent, each for at least ``units`` units and ``each``.

    >>> [stage.share for stage in canary(1, 5, 25, 50)]
    [1.0, 5.0, 25.0, 50.0]
    """
    for_ms = 0 if each is None else parse_duration(each)
    return tuple(StageDef("canary", float(share), for_ms, units) for share in shares)


def full() -> StageDef:
    """The last stage: the version is the champion."""
    return StageDef("full", share=100.0)


def every(interval: str) -> TriggerDef:
    """Retrain when ``interval`` has passed since the last training."""
    return TriggerDef("every", parse_duration(interval))


def when_performance_drops() -> TriggerDef:
    """Retrain when the outcomes of served predictions have become worse."""
    return TriggerDef("performance")


def when_drift() -> TriggerDef:
    """Look closer when the inputs have drifted; drift alone never retrains."""
    return TriggerDef("drift")


def usd(amount: float, *, per: str) -> Budget:
    """A budget in US dollars per month.

    >>> str(usd(20, per="month").amount)
    '20.00 USD'
    """
    if per != "month":
        raise DeclarationError(f"a budget per {per!r} cannot be kept", fix='say per="month"')
    if amount < 0:
        raise DeclarationError(f"a budget of {amount} is none", fix="give an amount of 0 or more")
    return Budget(Money.of(amount), per)


def _range(name: str, bounds: Range) -> tuple[float, float, str, bool]:
    low, high = bounds[0], bounds[1]
    scale = bounds[2] if len(bounds) == 3 else "linear"
    if scale not in ("linear", "log"):
        raise DeclarationError(f"{name}: {scale!r} is no scale", fix=f'say {name}=({low}, {high}, "log") or ({low}, {high})')
    if not low < high or (scale == "log" and low <= 0):
        raise DeclarationError(f"{name}: {bounds} is no range", fix="give the lower bound first; above 0 for a log scale")
    return float(low), float(high), scale, isinstance(low, int) and isinstance(high, int)
