"""``skyloom ingest``: rows of a table into a source."""

from pathlib import Path
from typing import Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out


def ingest(
    source: Annotated[str, typer.Argument(help="The source's name in the project.")],
    path: Annotated[
        Path | None,
        typer.Argument(help="A Parquet, CSV, NDJSON or Arrow file, or a folder of them; by default the declared table."),
    ] = None,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Bring new rows in, checked against the contract; rejects are kept with their reason."""
    from skyloom.platform import open_platform
    from skyloom.runtime.ingesting import expected
    from skyloom.runtime.ingesting import ingest as bring_in

    out = Out(json=json)
    platform = open_platform(profile=profile)
    with out.progress(f"rows of {source}", expected(platform, source, path)) as progress:
        done = bring_in(platform, source, path, on_rows=progress.advance)
    out.line(f"{done.source}: {done.accepted:,} of {done.rows:,} rows accepted from {done.path}")
    if done.known:
        out.line(f"{done.known:,} rows were left out: the very same files were brought in before")
    if done.rejected:
        out.table(["rows", "reason"], [[count, reason] for reason, count in sorted(done.reasons.items())])
        out.line(f"the {done.rejected:,} rejected rows are kept, with their reasons, in the lake table quarantine/{source}")
    if done.repeated:
        out.line(f"{done.repeated:,} of them have a key that came before: the first ones stay, these are in quarantine")
    out.document(done)
