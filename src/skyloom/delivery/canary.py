"""The sequential test of a canary: evidence that may be looked at after every outcome.

A unit's arm is drawn by a hash, the canary with probability ``rho``. So a bad event is the canary's with probability
``rho * theta / (1 - rho + rho * theta)``, where ``theta`` is the ratio of the arms' risks, whatever the traffic or the
common risk does. Likelihood ratios of that are e-processes: their chance of ever reaching 1/a is at most a (Ville).

* Harm: against theta <= 1, averaged over 40 ratios from 1.02 to 20, over units' *first* bad events.
* Safety: theta = 1 against theta >= 1.5. At a margin above 1 the units that have had their event thin out the worse arm,
  so first events would flatter it. Here each unit speaks at its first *look* (bad or not); when the canary's share has
  grown since the unit was last seen as stable, it speaks once more, with the share that is left to chance.
* Floor: a guard with hardly any events is safe too when its rate at the canary's first looks is under 0.5%.
* Wrong labels roll back; that labels are no worse is shown by pairs (`skyloom.delivery.paired`).
* Sample ratio: are new units the canary's as often as the release promised? Both ways.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Guard
from skyloom.kernel.sticky import BUCKETS

ERRORS, LATENCY, WRONG_LABEL = "errors", "latency", "wrong_label"
FALSE_ROLLBACK = 0.01
SAFE_EVIDENCE = 20.0
RATIO_EVIDENCE = 1_000.0
MARGIN = 1.5
FLOOR = 0.005
LATENCY_FLOOR = 0.01
"""Slow is what is beyond a 99th percentile (the stable arm's, or the declared one): fewer than 1% keep it."""

_FLOOR_RATES = ((0.0, 0.8), (0.1, 0.08), (0.2, 0.08), (0.4, 0.04))
"""Rates, as parts of the floor, that are weighed against it."""

_SHADOW_RATES = (2.0, 4.0, 10.0, 20.0, 60.0, 200.0)
_CANARY = 1.0


def _spaced(low: float, high: float, count: int) -> tuple[float, ...]:
    """``count`` values from ``low`` to ``high``, evenly spaced in logarithm."""
    return tuple(low * (high / low) ** (step / (count - 1)) for step in range(count))


HARM_RATIOS = _spaced(1.02, 20.0, 40)
"""The risk ratios of the harm test."""

SHARE_RATIOS = (*(1 / ratio for ratio in _spaced(1.1, 20.0, 20)), *_spaced(1.1, 20.0, 20))
"""The odds ratios of the sample-ratio check, both ways."""


class Limits(msgspec.Struct, frozen=True):
    """What makes an outcome bad.

    ``thresholds`` maps a version to the score from which its answer is "true"; ``latency_ms`` is the declared latency gate's
    limit, or ``None``; ``task`` is ``binary`` or ``regression`` (where no label is simply wrong).
    """

    thresholds: Mapping[int, float]
    latency_ms: float | None = None
    task: str = "binary"

    @property
    def guards(self) -> tuple[str, ...]:
        """The names of the guards, in order."""
        return (ERRORS, LATENCY, WRONG_LABEL) if self.task == "binary" else (ERRORS, LATENCY)


def is_bad(guard: str, outcome: Outcome, limits: Limits, stable_p99_ms: float | None) -> bool | None:
    """Whether an outcome is a bad event for a guard; ``None`` when it says nothing to this guard.

    >>> outcome = Outcome("labelled", "r", "m", 2, "canary", "u", 0, 0.7, 1.0, label=0.0, labelled_ms=9)
    >>> is_bad(WRONG_LABEL, outcome, Limits({2: 0.5}), None), is_bad(ERRORS, outcome, Limits({2: 0.5}), None)
    (True, None)
    """
    if guard == WRONG_LABEL:
        if outcome.kind != "labelled" or outcome.label is None or is_broken(outcome) or outcome.score is None:
            return None
        return (outcome.score >= limits.thresholds[outcome.version]) != (outcome.label > 0)
    if outcome.kind != "served":
        return None
    if guard == ERRORS:
        return is_broken(outcome)
    if stable_p99_ms is None:
        return None
    return outcome.latency_ms > max(stable_p99_ms, limits.latency_ms or 0.0)


def is_broken(outcome: Outcome) -> bool:
    """Whether there is an error, or no score, or a score that is no number."""
    return outcome.error is not None or outcome.score is None or math.isnan(outcome.score)


class GuardMemory:
    """Which units have spoken in one guard: state that is too large for the record and is rebuilt from the outcomes."""

    def __init__(self) -> None:
        self._had_event: set[str] = set()
        self._stable_up_to: dict[str, float] = {}

    def first_event(self, unit: str) -> bool:
        """Whether this bad event is the unit's first; remembered."""
        first = unit not in self._had_event
        self._had_event.add(unit)
        return first

    def look(self, unit: str, share: float, canary: bool) -> tuple[float, bool]:
        """The chance that this unit is the canary's at ``share``, given all that was seen of it (0 or 1: it says nothing
        new), and whether it is the canary's first look of it; remembered."""
        before = self._stable_up_to.get(unit, 0.0)
        self._stable_up_to[unit] = _CANARY if canary else max(before, share)
        if before >= _CANARY:
            return 1.0, False
        return max(0.0, (share - before) / (1 - before)), canary


def observe(guard: Guard, memory: GuardMemory, outcome: Outcome, bad: bool, share: int) -> Guard:
    """The evidence after one outcome of the canary or the stable arm, drawn at the canary's ``share`` (of 10,000)."""
    canary, rho = outcome.arm == "canary", share / BUCKETS
    chance, first_look = memory.look(outcome.unit, rho, canary)
    if first_look:
        guard = msgspec.structs.replace(guard, looks=guard.looks + 1, bad_looks=guard.bad_looks + bad)
    if not bad:
        return guard
    if 0 < chance < 1:
        guard = msgspec.structs.replace(guard, log_safe=guard.log_safe + _log_ratio(canary, chance, 1.0, MARGIN))
    return add_event(guard, canary, rho, HARM_RATIOS) if memory.first_event(outcome.unit) else guard


def add_event(guard: Guard, canary: bool, rho: float, ratios: tuple[float, ...]) -> Guard:
    """Count one event, and weigh every risk ratio of ``ratios`` against 1."""
    steps = _steps(ratios, canary, rho)
    before = guard.log_harm or (0.0,) * len(ratios)
    return msgspec.structs.replace(
        guard,
        canary_events=guard.canary_events + canary,
        stable_events=guard.stable_events + (not canary),
        expected=guard.expected + rho,
        log_harm=tuple(map(operator.add, before, steps)),
    )


def harm(guard: Guard) -> float:
    """The logarithm of the evidence that the canary is worse: the mean of the e-processes over all ratios.

    >>> harm(Guard("errors"))
    0.0
    """
    return log_mean(guard.log_harm) if guard.log_harm else 0.0


def is_harmful(guard: Guard, limit: float) -> bool:
    """Whether the evidence of harm has reached ``limit`` (a logarithm)."""
    # A mean is never above its greatest part: that spares the mean, after most outcomes.
    return bool(guard.log_harm) and max(guard.log_harm) >= limit and harm(guard) >= limit


def harm_limit(guards: int) -> float:
    """The logarithm at which one of ``guards`` guards rolls back: at most 1% false rollbacks over all of them."""
    return math.log(guards / FALSE_ROLLBACK)


def floor_evidence(guard: Guard) -> float:
    """The logarithm of the evidence that the rate at the canary's first looks is under the floor: 0.5%, of latency 1%.

    A mixture of likelihood ratios against the floor (valid against any greater rate): without an event it reaches 20 after
    616 units at 0.5%, with one event after 1,571.

    >>> [math.exp(floor_evidence(Guard("errors", looks=n))) >= 20 for n in (615, 616)]
    [False, True]
    """
    floor = LATENCY_FLOOR if guard.name == LATENCY else FLOOR
    good = guard.looks - guard.bad_looks
    terms: list[float] = []
    for part, weight in _FLOOR_RATES:
        if part > 0 or not guard.bad_looks:
            bad_term = guard.bad_looks * math.log(part) if guard.bad_looks else 0.0
            terms.append(math.log(weight) + good * (math.log1p(-part * floor) - math.log1p(-floor)) + bad_term)
    return log_mean(terms) + math.log(len(terms))


def safety(guard: Guard) -> float:
    """The logarithm of the evidence for promotion: the better of the relative test and the absolute floor.

    A version that is worse by the margin *and* above the floor passes each of the two in at most 5% of rollouts.
    """
    return max(guard.log_safe, floor_evidence(guard))


def is_safe(guard: Guard) -> bool:
    """Whether this guard lets the canary be promoted."""
    return safety(guard) >= math.log(SAFE_EVIDENCE)


def shadow_harm(units: int, errors: int) -> float:
    """The logarithm of the evidence that more than 0.5% of a shadow's units meet an error.

    >>> shadow_harm(1000, 2) < math.log(100) < shadow_harm(5, 3)
    True
    """
    logs = [
        errors * math.log(times) + (units - errors) * math.log((1 - min(FLOOR * times, 1 - 1e-12)) / (1 - FLOOR))
        for times in _SHADOW_RATES
    ]
    return log_mean(logs)


def shares_broken(ratio: Guard) -> bool:
    """Whether the arms' shares of new units contradict the release (in at most one of a thousand sound rollouts)."""
    return is_harmful(ratio, math.log(RATIO_EVIDENCE))


@lru_cache(maxsize=256)
def _steps(ratios: tuple[float, ...], canary: bool, rho: float) -> tuple[float, ...]:
    return tuple((math.log(ratio) if canary else 0.0) - math.log1p(rho * (ratio - 1)) for ratio in ratios)


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of the mean of numbers that are given by their logarithms."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs) / len(logs))


def _log_ratio(canary: bool, rho: float, theta: float, against: float) -> float:
    shared = math.log1p(rho * (against - 1)) - math.log1p(rho * (theta - 1))
    return shared + (math.log(theta / against) if canary else 0.0)
