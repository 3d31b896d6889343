"""Gates: checks that a version must pass before it may serve. Each is a function from evidence to a result with its reason.

Too little evidence never passes. Bounds are one-sided, at 95%.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skyloom.delivery.bootstrap import Interval, higher_is_better, improvement, metric_of
from skyloom.delivery.delong import Numbers, auc, auc_difference
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import GateDef
from skyloom.kernel.records.registry import GateResult

MIN_ROWS = 100
MIN_EACH_CLASS = 10
MIN_SLICE_ROWS = 30
MIN_LATENCIES = 100

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class GateEvidence:
    """What the gates look at: the same frozen, matured holdout answered by both versions.

    ``labels``, ``challenger`` and ``champion`` are float arrays [n] (a missing label or answer is NaN); ``champion`` is
    ``None`` when nothing serves yet. ``slices`` maps a column to its n values. ``latency_ms`` are the challenger's times for
    single rows, in milliseconds; ``task`` is ``binary`` or ``regression``.
    """

    labels: Numbers
    challenger: Numbers
    champion: Numbers | None = None
    slices: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    latency_ms: Numbers = field(default_factory=lambda: np.empty(0))
    task: str = "binary"


def judge(gate: GateDef, evidence: GateEvidence) -> GateResult:
    """What one gate says. Raises `DeclarationError` for a kind of gate, or a metric, that does not exist.

    >>> result = judge(GateDef("latency_p99", limit_ms=5.0), GateEvidence(np.empty(0), np.empty(0), latency_ms=np.ones(200)))
    >>> result.passed, result.measured, result.limit
    (True, '1.000 ms', '5.000 ms')
    """
    if gate.kind not in _GATES:
        close = next(iter(nearest(gate.kind, list(_GATES))), "better_than_champion")
        raise DeclarationError(f"there is no gate {gate.kind!r}", tried=", ".join(_GATES), fix=f"use {close}")
    return _GATES[gate.kind](gate, evidence)


def judge_all(gates: Sequence[GateDef], evidence: GateEvidence) -> tuple[GateResult, ...]:
    """What every gate says, in order; a version passes when all do."""
    return tuple(judge(gate, evidence) for gate in gates)


def _better(gate: GateDef, evidence: GateEvidence) -> GateResult:
    return _against_champion(gate, evidence, 0.0)


def _not_worse(gate: GateDef, evidence: GateEvidence) -> GateResult:
    return _against_champion(gate, evidence, gate.by)


def _against_champion(gate: GateDef, evidence: GateEvidence, margin: float) -> GateResult:
    """Passes when the lower bound of the improvement is above minus the margin."""
    metric = _metric_name(gate, evidence)
    name = f"{gate.kind}({metric})"
    demand = f"improvement's lower 95% bound above {-margin if margin else 0:g}"
    rows = _usable(evidence)
    problem = _problem(evidence, rows)
    if problem:
        return GateResult(name, False, "nothing", demand, problem)
    labels, challenger = evidence.labels[rows], evidence.challenger[rows]
    rival, opponent = _rival(evidence, rows, metric)
    gain = _gain(metric, labels, challenger, opponent)
    ours, theirs = _value(metric, labels, challenger), _value(metric, labels, opponent)
    passed = gain.lower > -margin
    verdict = _verdict(passed, margin)
    reason = (
        f"{metric} {ours:.4f} against {theirs:.4f} of {rival} on {len(labels):,} rows: "
        f"improvement {gain.value:+.4f}, at least {gain.lower:+.4f} with 95% confidence: {verdict}"
    )
    return GateResult(name, passed, f"{ours:.4f}, improvement at least {gain.lower:+.4f}", demand, reason)


def _verdict(passed: bool, margin: float) -> str:
    if margin:
        return f"not worse by more than {margin:g}" if passed else f"it may be worse by more than {margin:g}"
    return "better" if passed else "not shown to be better"


def _rival(evidence: GateEvidence, rows: Rows, metric: str) -> tuple[str, Numbers]:
    """The champion's answers, or the best constant answer when there is no champion."""
    if evidence.champion is not None:
        return "the champion", evidence.champion[rows]
    labels = evidence.labels[rows]
    constant = float(np.median(labels) if metric == "mae" else np.mean(labels))
    return f"always answering {constant:.4f} (there is no champion)", np.full(len(labels), constant)


def _gain(metric: str, labels: Numbers, challenger: Numbers, opponent: Numbers) -> Interval:
    if metric != "roc_auc":
        return improvement(metric, labels, challenger, opponent)
    difference = auc_difference(labels, challenger, opponent)
    return Interval(difference.value, difference.lower())


def _value(metric: str, labels: Numbers, scores: Numbers) -> float:
    return auc(labels, scores).value if metric == "roc_auc" else metric_of(metric, labels, scores)


def _at_least(gate: GateDef, evidence: GateEvidence) -> GateResult:
    metric = _metric_name(gate, evidence)
    if not higher_is_better(metric):
        raise DeclarationError(f"at_least({metric!r}): less of it is better", fix='say at_least("roc_auc", 0.7)')
    name, limit = f"at_least({metric})", f"{metric} at least {gate.by:g}"
    rows = _usable(evidence)
    problem = _problem(evidence, rows)
    if problem:
        return GateResult(name, False, "nothing", limit, problem)
    value = _value(metric, evidence.labels[rows], evidence.challenger[rows])
    passed = value >= gate.by
    reason = f"{metric} is {value:.4f} on {len(rows):,} rows: {'enough' if passed else 'below the floor'}"
    return GateResult(name, passed, f"{value:.4f}", limit, reason)


def _no_slice_worse(gate: GateDef, evidence: GateEvidence) -> GateResult:
    """Fails when some slice is worse by more than ``by`` with 95% confidence over all slices together (Bonferroni)."""
    name, limit = f"no_slice_worse({gate.column})", f"no {gate.column} worse by more than {gate.by:g}"
    values = evidence.slices.get(gate.column or "")
    rows = _usable(evidence)
    if values is None or evidence.task != "binary":
        reason = (
            f"there are no slices by {gate.column}"
            if values is None
            else "slices are compared by roc_auc: binary labels only"
        )
        return GateResult(name, False, "nothing", limit, reason)
    if not np.isfinite(evidence.challenger[rows]).all():
        return GateResult(name, False, "nothing", limit, _problem(evidence, rows))
    slices = _slices(evidence, np.asarray(values).astype(str), rows)
    if not slices:
        reason = f"too little evidence: no {gate.column} has {MIN_SLICE_ROWS} labelled rows with both classes"
        return GateResult(name, False, "nothing", limit, reason)
    if evidence.champion is None:
        return GateResult(
            name, True, f"{len(slices)} slices seen", limit, f"no champion: nothing to compare in {_list(slices)}"
        )
    worst, measured, reason = _compare_slices(gate, evidence.labels, evidence.challenger, evidence.champion, slices)
    return GateResult(name, not worst, measured, limit, reason)


def _compare_slices(
    gate: GateDef, labels: Numbers, challenger: Numbers, champion: Numbers, slices: dict[str, Rows]
) -> tuple[list[str], str, str]:
    """The slices that are shown to be worse, the worst one's figures, and the reason."""
    confidence = 1 - 0.05 / len(slices)
    differences = {value: auc_difference(labels[rows], challenger[rows], champion[rows]) for value, rows in slices.items()}
    bounds = {value: difference.upper(confidence) for value, difference in differences.items()}
    worse = [value for value, upper in bounds.items() if upper < -gate.by]
    worst = min(bounds, key=lambda value: bounds[value])
    measured = f"{worst}: {differences[worst].value:+.4f}, at most {bounds[worst]:+.4f}"
    reason = (
        f"roc_auc is worse by more than {gate.by:g} in {', '.join(worse)}"
        if worse
        else f"roc_auc compared with the champion in {_list(slices)}: none is shown to be worse by more than {gate.by:g}"
    )
    return worse, measured, reason


def _slices(evidence: GateEvidence, values: NDArray[np.str_], rows: Rows) -> dict[str, Rows]:
    """The rows of each slice that has enough of both classes."""
    found: dict[str, Rows] = {}
    for value in np.unique(values[rows]):
        members = rows[values[rows] == value]
        positives = int((evidence.labels[members] > 0).sum())
        if len(members) >= MIN_SLICE_ROWS and 2 <= positives <= len(members) - 2:
            found[str(value)] = members
    return found


def _latency_p99(gate: GateDef, evidence: GateEvidence) -> GateResult:
    name, ceiling = "latency_p99", gate.limit_ms or 0.0
    limit, samples = f"{ceiling:.3f} ms", evidence.latency_ms
    if len(samples) < MIN_LATENCIES or not np.isfinite(samples).all():
        reason = f"too little evidence: {int(np.isfinite(samples).sum())} latencies measured, {MIN_LATENCIES} needed"
        return GateResult(name, False, "nothing", limit, reason)
    p99 = float(np.quantile(samples, 0.99, method="higher"))
    passed = p99 <= ceiling
    side = "within" if passed else "over"
    reason = f"99 of 100 answers took at most {p99:.3f} ms of the processor ({len(samples):,} measured): {side} the limit"
    return GateResult(name, passed, f"{p99:.3f} ms", limit, reason)


def _usable(evidence: GateEvidence) -> Rows:
    """The rows with a label; those that the champion could not answer are left out."""
    known = np.isfinite(evidence.labels)
    if evidence.champion is not None:
        known &= np.isfinite(evidence.champion)
    return np.flatnonzero(known)


def _problem(evidence: GateEvidence, rows: Rows) -> str:
    """Why the rows cannot be judged; empty when they can."""
    broken = int((~np.isfinite(evidence.challenger[rows])).sum())
    if broken:
        return f"the challenger has no answer for {broken:,} of {len(rows):,} rows"
    if len(rows) < MIN_ROWS:
        return f"too little evidence: {len(rows)} labelled rows, {MIN_ROWS} needed"
    positives = int((evidence.labels[rows] > 0).sum())
    rarer = min(positives, len(rows) - positives)
    if evidence.task == "binary" and rarer < MIN_EACH_CLASS:
        return f"too little evidence: {positives} of {len(rows):,} labels are true, {MIN_EACH_CLASS} of each kind needed"
    return ""


def _metric_name(gate: GateDef, evidence: GateEvidence) -> str:
    return gate.metric or ("roc_auc" if evidence.task == "binary" else "rmse")


def _list(slices: dict[str, Rows]) -> str:
    return ", ".join(f"{value} ({len(rows):,})" for value, rows in slices.items())


_GATES: dict[str, Callable[[GateDef, GateEvidence], GateResult]] = {
    "better_than_champion": _better,
    "not_worse_than_champion": _not_worse,
    "no_slice_worse": _no_slice_worse,
    "latency_p99": _latency_p99,
    "at_least": _at_least,
}
