"""``skyloom releases``: what was released, who obeys it, and what is refused."""

from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Cell, Out, moment

if TYPE_CHECKING:
    from skyloom.runtime.releases import Released
    from skyloom.serving.standing import Standing

_DIGITS = 12


def releases(
    last: Annotated[int, typer.Option("--last", min=1, help="How many releases to show.")] = 10,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Show the last releases, and which servers of this machine obey them."""
    from skyloom.platform import open_platform
    from skyloom.runtime.releases import survey

    out = Out(json=json)
    found = survey(open_platform(profile=profile), last)
    out.table(["release", "id", "made", "by", "why", "obeyed by"], [_release_row(each) for each in found.releases])
    if found.processes:
        out.line()
        columns = ["server", "obeys", "id", "since", "from", "copied"]
        out.table(columns, [_process_row(each) for each in found.processes])
    for trouble in found.troubles:
        out.line(trouble)
    out.document(found)
    if found.troubles:
        raise typer.Exit(1)


def _release_row(each: "Released") -> list[Cell]:
    made = each.release
    obeyed = ", ".join(str(pid) for pid in each.obeyed_by)
    return [made.number, each.id[:_DIGITS], moment(made.created_ms), made.actor, made.reason, obeyed or None]


def _process_row(each: "Standing") -> list[Cell]:
    source = "local copy" if each.from_copy else "store"
    return [
        each.pid,
        each.number,
        each.release[:_DIGITS] or None,
        moment(each.at_ms),
        source if each.release else None,
        each.copied,
    ]
