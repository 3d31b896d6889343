"""``skyloom monitor``: how the models fare."""

from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.features import tell_incidents
from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Cell, Out, moment, shown

if TYPE_CHECKING:
    from skyloom.monitoring.decline import Decline
    from skyloom.monitoring.performance import Cohort
    from skyloom.runtime.monitoring import Health, Report
    from skyloom.runtime.watched import Watched

_MOVERS = 5


def monitor(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    skew: Annotated[bool, typer.Option("--skew", help="Check every logged prediction for skew, not a sample.")] = False,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Show who serves, quality with matured labels, drift, skew, incidents, lag, rejected rows, retraining, cost."""
    from skyloom.platform import open_platform
    from skyloom.runtime.monitoring import observe

    out = Out(json=json)
    report = observe(open_platform(profile=profile), model, all_skew=skew)
    for health in report.models:
        _tell_model(out, health)
        out.line()
    _tell_project(out, report)
    out.document(report)


def _tell_model(out: Out, health: "Health") -> None:
    counts, rollout, state = health.predictions, health.rollout, health.retraining.state
    waiting = counts.served - counts.labelled - counts.expired
    checked = f"{health.skew.predictions:,} predictions, {health.skew.values:,} values compared"
    if health.skew.redacted:
        checked += f"; {health.skew.redacted:,} predictions cannot be: their receipts leave out columns"
    out.fields(
        {
            "model": health.model,
            "serves": "nothing yet" if health.champion is None else f"v{health.champion}",
            "rollout": None if rollout is None else f"v{rollout.challenger} {rollout.state.replace('_', ' ')}",
            "predictions": counts.served,
            "labels": f"{counts.labelled:,} came, {waiting:,} awaited, {counts.expired:,} never came in time",
            "coverage": None
            if health.coverage is None
            else f"{health.coverage:.1%} of those whose time for a label is over",
            "quality": _decline(health.quality, "matured labels"),
            "estimate": _decline(health.estimate, "scores, without labels"),
            "skew": f"{len(health.skew.differences):,} different; {checked}",
            "watched": _watched(health.watched),
            "retraining": state.state.replace("_", " ") + (f": {state.reason}" if state.reason else ""),
            "last training": moment(health.last_training_ms),
            "spent this month": health.spent + (f" of {health.budget}" if health.budget else ""),
        }
    )
    _tell_cohorts(out, health)
    _tell_drift(out, health)


def _watched(watch: "Watched") -> str:
    compared = f"{watch.predictions:,} predictions, {watch.values:,} values compared while they were served"
    failed = f"; {watch.failed:,} could not be computed again" if watch.failed else ""
    return f"{watch.unequal:,} different; {compared}{failed}"


def _tell_cohorts(out: Out, health: "Health") -> None:
    if health.promise is None or not health.cohorts:
        return
    names = list(health.cohorts[0].metrics)
    promised = {"base_rate": health.promise.base_rate, **health.promise.metrics}
    holdout: list[Cell] = ["holdout", None, None, health.promise.rows, None, None, *(promised.get(name) for name in names)]
    rows = [_cohort_row(cohort, names) for cohort in health.cohorts]
    columns = ["predicted from", "version", "arm", "predictions", "with label", "mature", *names]
    out.table(columns, [[shown(cell) for cell in row] for row in [holdout, *rows]])


def _cohort_row(cohort: "Cohort", names: list[str]) -> list[Cell]:
    described: list[Cell] = [moment(cohort.start_ms), f"v{cohort.version}", cohort.arm, cohort.predictions]
    return [*described, f"{cohort.coverage:.0%}", cohort.mature, *(cohort.metrics[name] for name in names)]


def _tell_drift(out: Out, health: "Health") -> None:
    if not health.drift:
        return
    rows: list[list[Cell]] = [
        [each.column, each.aspect, each.distance, each.limit, "drifted" if each.drifted else "", each.rule]
        for each in health.drift[:_MOVERS]
    ]
    out.table(["top movers", "of", "distance", "limit", "", "limit from"], rows)


def _tell_project(out: Out, report: "Report") -> None:
    rows: list[list[Cell]] = [[topic, lag.unfolded, lag.unsunk, lag.dead] for topic, lag in report.lag.items()]
    out.table(["topic", "not yet worked on", "not yet in the lake", "dead letters"], rows)
    rejected: list[list[Cell]] = [
        [source, count, reason] for source, reasons in report.quarantine.items() for reason, count in reasons.items()
    ]
    if rejected:
        out.table(["rejected rows of", "rows", "reason"], rejected)
    tell_incidents(out, report.incidents)


def _decline(decline: "Decline | None", by: str) -> str:
    if decline is None:
        return f"not judged: too few {by}"
    verdict = "has dropped" if decline.declined else "no drop is shown"
    figures = f"{decline.metric} {shown(decline.now)}, the holdout promised {shown(decline.promised)}"
    return f"{verdict}: {figures} (by {decline.rows:,} {by}; lost {decline.loss:+.4f}, at least {decline.least:+.4f})"
