"""``skyloom rollout``, ``promote`` and ``rollback``: how a rollout stands, and steering it by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Cell, Out, moment

if TYPE_CHECKING:
    from skyloom.runtime.rollouts import GuardStanding, PairStanding, StageStanding, Standing

ModelArgument = Annotated[str, typer.Argument(help="The model's name in the project.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why: it is recorded with your name.")]


def rollout(model: ModelArgument, profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Show how the last rollout of a model stands: its stages, its guards and their evidence."""
    from skyloom.platform import open_platform
    from skyloom.runtime.rollouts import standing
    from skyloom.runtime.state import model_of

    out, platform = Out(json=json), open_platform(profile=profile)
    stands = standing(platform, model_of(platform, model).name)
    out.fields(_described(stands))
    columns = ["stage", "share of units", "at least", "units", "state"]
    out.table(columns, [_stage_row(stage) for stage in stands.stages])
    if stands.rollout.champion is not None:
        columns = [
            "guard",
            "bad in canary",
            "bad in stable",
            "expected",
            "evidence of harm",
            "limit",
            "of safety",
            "needed",
            "safe",
        ]
        out.table(columns, [_guard_row(guard) for guard in stands.guards])
        columns = ["labels", "same requests", "champion lost", "challenger lost", *columns[4:]]
        out.table(columns, [_pair_row(stands.pairs)])
    out.document(stands)


def promote(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(help="The version's number.")],
    reason: ReasonOption,
    override: Annotated[
        bool, typer.Option("--override", help="Also a version that its gates refused, on your word.")
    ] = False,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Make a version the champion, by hand and at once; a rollout under way ends."""
    from skyloom.platform import open_platform
    from skyloom.registry.champion import champion_of
    from skyloom.runtime.control import promote as make_champion
    from skyloom.runtime.state import actor, model_of

    out, platform = Out(json=json), open_platform(profile=profile)
    name = model_of(platform, model).name
    make_champion(platform, name, version, actor=actor(), reason=reason, override_gates=override)
    out.line(f"{name} v{version} is the champion now")
    out.document(champion_of(platform.metadata, name))


def rollback(model: ModelArgument, reason: ReasonOption, profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """End a rollout under way; when none is, go back to the champion before."""
    from skyloom.platform import open_platform
    from skyloom.runtime.control import rollback as go_back
    from skyloom.runtime.state import actor, model_of

    out, platform = Out(json=json), open_platform(profile=profile)
    name = model_of(platform, model).name
    serves = go_back(platform, name, actor=actor(), reason=reason)
    out.line(f"{name} v{serves} serves, alone")
    out.document({"model": name, "serves": serves})


def _described(stands: "Standing") -> dict[str, Cell]:
    now = stands.rollout
    return {
        "rollout": now.id,
        "state": now.state.replace("_", " "),
        "challenger": f"v{now.challenger}" + (f" against v{now.champion}" if now.champion else ", the first"),
        "champion now": None if stands.serves is None else f"v{stands.serves}",
        "began": moment(now.started_ms),
        "ended": moment(now.finished_ms),
        "judged": f"{now.requests:,} requests, {now.shadow_units:,} units in the shadow",
        "units": f"{now.units_canary:,} canary, {now.units_stable:,} stable",
        "reason": now.reason or None,
    }


def _stage_row(stage: "StageStanding") -> list[Cell]:
    from skyloom.kernel.units import format_duration

    share = f"{stage.share:g}%" if stage.kind != "shadow" else "unseen"
    return [stage.kind, share, format_duration(stage.for_ms) if stage.for_ms else None, stage.units or None, stage.state]


def _guard_row(guard: "GuardStanding") -> list[Cell]:
    counted: list[Cell] = [guard.name, guard.canary_events, guard.stable_events, guard.expected]
    return [*counted, guard.harm, guard.harm_limit, guard.safety, guard.safety_limit, guard.safe]


def _pair_row(pairs: "PairStanding") -> list[Cell]:
    counted: list[Cell] = [pairs.name, pairs.count, pairs.champion_loss, pairs.challenger_loss]
    return [*counted, pairs.harm, pairs.harm_limit, pairs.safety, pairs.safety_limit, pairs.safe]
