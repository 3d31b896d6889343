"""``skyloom erase``: the events of a subject forgotten."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out
from skyloom.kernel.errors import Refused, UsageError

if TYPE_CHECKING:
    from skyloom.runtime.forgetting import Named


def erase(
    source: Annotated[str, typer.Argument(help="The source's name in the project.")],
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="COLUMN=VALUE: events with that value. Repeatable, for more values of the column."),
    ] = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="One event, by its key. Repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Forget events: out of the lake, and out of every feature.

    What comes in later with the same values is kept. It cannot be undone.
    """
    from skyloom.platform import open_platform
    from skyloom.runtime.forgetting import forget, named_events

    out, platform = Out(json=json), open_platform(profile=profile)
    named = named_events(platform, source, where or [], key or [])
    out.line(f"{_counted(named.events)} of {source} have {_described(named)}")
    if not yes:
        _require_consent(named, json=json)
    done = forget(platform, named)
    out.table(["table", "rows erased"], [[table, count] for table, count in done.rows.items()])
    if done.groups:
        out.line(f"computed without them now: {', '.join(done.groups)}")
    out.line(f"not touched ({done.id} is audited):")
    for kept in done.kept:
        out.line(f"  {kept}")
    out.document(done)


def _require_consent(named: "Named", *, json: bool) -> None:
    """Ask on a terminal. Raises `UsageError` where nobody can be asked, `Refused` when the answer is no."""
    if json or not sys.stdin.isatty():
        raise UsageError(
            f"nothing was erased: {_counted(named.events)} would go for good, and nobody is there to be asked",
            fix="the same command with --yes",
        )
    if not typer.confirm("Erase them for good?", default=False):
        raise Refused("nothing was erased", tried=_described(named))


def _counted(events: int) -> str:
    return f"{events:,} {'event' if events == 1 else 'events'}"


def _described(named: "Named") -> str:
    return f"{named.column} = {' or '.join(map(str, named.values))}"
