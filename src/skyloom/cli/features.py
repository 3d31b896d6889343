"""``skyloom features``: what is declared, what it is made of, its values, how far behind it is, and whether it is equal."""

from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption, application
from skyloom.cli.output import Cell, Out, moment, shown
from skyloom.kernel.errors import SkyloomError

if TYPE_CHECKING:
    from skyloom.monitoring.incidents import Difference, Incident
    from skyloom.runtime.features import FeatureLineage, GroupStanding
    from skyloom.runtime.worker import Progress

app = application()

NameArgument = Annotated[str, typer.Argument(help="A group (carrier_recent), or one feature (carrier_recent_delay_1h).")]

_SHOWN = 10


@app.callback(invoke_without_command=True)
def features(context: typer.Context, profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Windowed features: what they are, their values, their lag, and whether they are equal. Alone: list them."""
    if context.invoked_subcommand is None:
        list_(profile=profile, json=json)


@app.command(name="list")
def list_(profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """The groups, and whether they are built."""
    from skyloom.platform import open_platform
    from skyloom.runtime.features import standings

    out = Out(json=json)
    found = standings(open_platform(profile=profile))
    _tell_groups(out, found)
    if not found:
        out.line("no features are declared: write  name = sky.Features(source, by=..., n=sky.count(over=[...]))")
    out.document(found)


@app.command()
def show(name: NameArgument, profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """What a feature is made of and used by."""
    from skyloom.platform import open_platform
    from skyloom.runtime.features import lineages

    out = Out(json=json)
    found = lineages(open_platform(profile=profile), name)
    group = found[0].group
    out.fields(
        {
            "group": group.name,
            "entity": ", ".join(group.entity),
            "source": group.source,
            "from": " and ".join(filter(None, (found[0].table, found[0].stream))) or None,
            "lateness": group.lateness,
            "tiles": group.tiles,
            "state": group.state,
            "behind": group.behind,
            "fresh": moment(group.fresh_ms),
            "release": found[0].release,
        }
    )
    out.table(["feature", "made of", "models", "served by"], [_lineage_row(each) for each in found])
    ways = dict.fromkeys(way for each in found for way in each.ways)
    if any(way.entity != group.entity for way in ways):
        out.table(["input", "model", "of the entity in"], [[way.input, way.model, ", ".join(way.entity)] for way in ways])
    out.document(found)


@app.command()
def preview(
    name: NameArgument,
    entity: Annotated[str | None, typer.Option("--entity", help="Its key; several columns with commas between.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="The moment, as 2013-04-01T12:00Z; default: the newest event.")
    ] = None,
    rows: Annotated[int, typer.Option("-n", min=1, help="How many entities, those of the newest events first.")] = 10,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Values from a sample of the lake.

    The features are those declared now, applied or not; an event counts from its time and its source's delay on.
    """
    from skyloom.platform import open_platform
    from skyloom.runtime.features_preview import preview as compute

    out = Out(json=json)
    found = compute(open_platform(profile=profile), name, entity, at, rows)
    out.line(f"{found.group} at {moment(found.at_ms)}, from {found.events:,} {'event' if found.events == 1 else 'events'}")
    out.table(found.columns, found.rows)
    out.document(found)


@app.command()
def backfill(name: NameArgument, profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Build a group anew from the lake.

    The old values serve until it is done. Whoever stops waiting stops nothing: the worker goes on.
    """
    from skyloom.platform import open_platform
    from skyloom.runtime.features_backfill import backfill as build

    out = Out(json=json)
    done = build(open_platform(profile=profile), name, lambda progress: out.line(_how_far(progress)))
    out.document(done)


@app.command()
def lag(profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """How far behind the log everything is.

    The folding, the lake, each group, and the watch over served values.
    """
    from skyloom.platform import open_platform
    from skyloom.runtime.features_check import behind

    out = Out(json=json)
    found = behind(open_platform(profile=profile))
    topics: list[list[Cell]] = [[topic, each.unfolded, each.unsunk, each.dead] for topic, each in found.topics.items()]
    out.table(["topic", "not yet worked on", "not yet in the lake", "dead letters"], topics)
    groups: list[list[Cell]] = [[g.name, g.state, g.left, g.behind, moment(g.fresh_ms)] for g in found.groups]
    out.table(["group", "state", "history left", "behind", "fresh"], groups)
    watches: list[list[Cell]] = [
        [each.model, each.predictions, each.values, each.unequal, each.failed, moment(each.at_ms)] for each in found.watched
    ]
    out.table(["watched", "predictions compared", "values", "unequal", "failed", "last"], watches)
    out.document(found)


@app.command()
def check(
    model: Annotated[str | None, typer.Argument(help="Only the predictions of this model.")] = None,
    sample: Annotated[int | None, typer.Option("--sample", min=1, help="Only so many of the newest of each model.")] = None,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Compare served values with the lake.

    Predictions are computed again from the lake and compared with ==. Exits 1, and records an incident, when one differs.
    """
    from skyloom.platform import open_platform
    from skyloom.runtime.features_check import check as compare
    from skyloom.runtime.state import actor

    out = Out(json=json)
    found = compare(open_platform(profile=profile), model, sample, actor=actor())
    rows: list[list[Cell]] = [
        [name, skew.predictions, skew.values, len(skew.differences)] for name, skew in found.skew.items()
    ]
    out.table(["model", "predictions", "values compared", "unequal"], rows)
    _tell_differences(out, [each for skew in found.skew.values() for each in skew.differences])
    tell_incidents(out, found.incidents)
    out.document(found)
    if found.unequal:
        raise SkyloomError(
            f"{found.unequal:,} served values are not those of the lake",
            tried=", ".join(f"{name}: {skew.values:,} values" for name, skew in found.skew.items()),
            fix="skyloom receipt ID, for what a prediction was made of",
        )


def tell_incidents(out: Out, found: "tuple[Incident, ...]") -> None:
    """The newest incidents as a table; nothing when there is none."""
    rows: list[list[Cell]] = [
        [each.id, each.model, moment(each.found_ms), each.found_by, len(each.receipts), each.values]
        for each in found[: -_SHOWN - 1 : -1]
    ]
    if rows:
        out.table(["incident", "model", "found", "by", "predictions", "unequal values"], rows)


def _how_far(progress: "Progress") -> str:
    if progress.done:
        return f"{progress.group} holds every event: {progress.barrier:,} offsets of the log"
    return f"{progress.group}: {progress.position:,} of {progress.barrier:,} offsets of the log are built"


def _tell_groups(out: Out, found: "list[GroupStanding]") -> None:
    rows: list[list[Cell]] = [
        [g.name, ", ".join(g.entity), g.source, len(g.features), ", ".join(g.windows), ", ".join(g.hops), g.state, g.behind]
        for g in found
    ]
    out.table(["group", "entity", "source", "features", "windows", "hops", "state", "behind"], rows)


def _tell_differences(out: Out, found: "list[Difference]") -> None:
    if found:
        rows: list[list[Cell]] = [
            [each.receipt, each.input, repr(each.served), repr(each.recomputed)] for each in found[:_SHOWN]
        ]
        out.table(["prediction", "input", "served", "from the lake"], rows)


def _lineage_row(each: "FeatureLineage") -> list[Cell]:
    served = ", ".join(f"{model} v{version}" for model, versions in each.served.items() for version in versions)
    return [each.name, each.made_of, ", ".join(each.models), shown(served or None)]
