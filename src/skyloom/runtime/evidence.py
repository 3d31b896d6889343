"""What the outcomes of a champion's predictions say about it, beside what its holdout promised."""

from typing import TYPE_CHECKING

import msgspec

from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.registry import Package, Version
from skyloom.monitoring.outcomes import outcomes_end, read_outcomes
from skyloom.platform import Platform

if TYPE_CHECKING:  # whoever watches over time loads NumPy only when there is something to judge
    from skyloom.monitoring.decline import Decline, Promise

RECENT = 20_000
"""The newest outcomes that are looked at."""

_CARD = "card.json"


class Evidence(msgspec.Struct, frozen=True):
    """The verdicts of the newest cohorts (``None``: too little that is new), and up to which moments of requests they
    reach; a next look judges later requests only, so that no evidence counts twice."""

    realised: "Decline | None"
    estimated: "Decline | None"
    labelled_ms: int
    served_ms: int
    label_delay_ms: int


class _Bin(msgspec.Struct):
    rows: int
    mean_score: float
    rate: float


class _Evaluation(msgspec.Struct):
    rows: int
    metrics: dict[str, float]
    calibration: tuple[_Bin, ...] = ()


class _Card(msgspec.Struct):
    evaluation: _Evaluation


def promise_of(platform: Platform, version: Version) -> "Promise":
    """What a version's holdout promised, from its card."""
    from skyloom.monitoring.decline import Promise

    package = msgspec.json.decode(platform.objects.get(version.package), type=Package)
    said = msgspec.json.decode(platform.objects.get(package.files[_CARD]), type=_Card).evaluation
    rows = sum(each.rows for each in said.calibration)
    rate = sum(each.rows * each.rate for each in said.calibration) / rows if rows else None
    return Promise(said.rows, said.metrics, rate, tuple((each.mean_score, each.rate) for each in said.calibration))


def recent_outcomes(platform: Platform, model: str, most: int = RECENT) -> list[Outcome]:
    """The newest outcomes of a model, oldest first."""
    with platform.online.read() as view:
        return read_outcomes(view, model, max(0, outcomes_end(view, model) - most), most)


def gather(platform: Platform, model: ModelDef, version: Version, labelled_ms: int, served_ms: int) -> Evidence:
    """The evidence about the champion from requests after ``labelled_ms`` (with labels) and ``served_ms`` (without)."""
    from skyloom.monitoring.decline import estimated, matured, realised

    outcomes, promise = recent_outcomes(platform, model.name), promise_of(platform, version)
    known = matured(outcomes, version.number, labelled_ms, platform.clock.now_ms(), model.label.within_ms)
    asked = [
        each
        for each in outcomes
        if each.kind == "served" and each.version == version.number and each.at_ms > served_ms and each.score is not None
    ]
    real = realised(known.outcomes, promise, model.metrics, model.task)
    guess = estimated([each.score for each in asked if each.score is not None], promise, model.metrics, model.task)
    return Evidence(
        realised=real,
        estimated=guess,
        labelled_ms=max(each.at_ms for each in known.outcomes) if real else labelled_ms,
        served_ms=max(each.at_ms for each in asked) if guess else served_ms,
        label_delay_ms=known.delay_ms,
    )
