"""``skyloom keys``: API keys."""

from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption, application
from skyloom.cli.output import Out

if TYPE_CHECKING:
    from skyloom.governance import KeyRecord

app = application()


@app.callback()
def keys() -> None:
    """API keys: who may predict, ingest, read or administer."""


@app.command()
def create(
    scope: Annotated[
        list[str], typer.Option("--scope", help="What it may do: predict, ingest, read, pin or admin. Repeatable.")
    ],
    per_second: Annotated[float, typer.Option(help="How often it may ask a serving machine in a second (0: any).")] = 0.0,
    per_day: Annotated[int, typer.Option(help="How often it may ask a serving machine on a day of UTC (0: any).")] = 0,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Make a key and show it, once."""
    from skyloom.governance import create_key
    from skyloom.platform import open_platform
    from skyloom.runtime.state import actor

    out, platform = Out(json=json), open_platform(profile=profile)
    key, record = create_key(
        platform.metadata,
        scope,
        actor=actor(),
        now_ms=platform.clock.now_ms(),
        per_second=per_second,
        per_day=per_day,
    )
    out.fields({"key": key, "scopes": ", ".join(record.digest.scopes)})
    out.line("It is stored nowhere and shown only now.")
    out.document({"key": key, **_described(record)})


@app.command(name="list")
def list_(profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """All keys by prefix, revoked ones too."""
    from skyloom.governance import list_keys
    from skyloom.platform import open_platform

    out = Out(json=json)
    described = [_described(record) for record in list_keys(open_platform(profile=profile).metadata)]
    columns = ("prefix", "scopes", "created", "created_by", "revoked")
    rows = [[", ".join(cell) if isinstance(cell, tuple) else cell for cell in map(line.get, columns)] for line in described]
    out.table([column.replace("_", " ") for column in columns], rows)
    out.document(described)


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The key's prefix, with or without sky_.")],
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Let a key open nothing any more."""
    from skyloom.governance import revoke_key
    from skyloom.platform import open_platform
    from skyloom.runtime.state import actor

    out, platform = Out(json=json), open_platform(profile=profile)
    record = revoke_key(platform.metadata, prefix, actor=actor(), now_ms=platform.clock.now_ms())
    out.line(f"key sky_{record.digest.prefix} is revoked")
    out.document(_described(record))


def _described(record: "KeyRecord") -> dict[str, str | tuple[str, ...] | None]:
    from skyloom.cli.output import moment

    return {
        "prefix": f"sky_{record.digest.prefix}",
        "scopes": record.digest.scopes,
        "created": moment(record.created_ms),
        "created_by": record.created_by,
        "revoked": moment(record.revoked_ms),
    }
