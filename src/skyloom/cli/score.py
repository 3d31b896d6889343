"""``skyloom score``: predictions for a table."""

from pathlib import Path
from typing import Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out


def score(
    model: Annotated[str, typer.Argument(help="The model's name in the project.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="A Parquet or CSV file of requests.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The Parquet or CSV file to write.")],
    version: Annotated[int | None, typer.Option("--version", help="Another version than the champion.")] = None,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Predict for every row of a table, with its features as of the row's own moment."""
    from skyloom.ingest.requests import count_requests
    from skyloom.platform import open_platform
    from skyloom.runtime.scoring import score_file

    out, platform = Out(json=json), open_platform(profile=profile)
    with out.progress(f"scoring {source}", count_requests(source)) as progress:
        done = score_file(platform, model, source, target, version=version, on_rows=progress.advance)
    out.line(f"{done.model} v{done.version}: {done.scored:,} of {done.rows:,} rows have a score, in {done.path}")
    if done.errors:
        out.table(["rows", "error"], [[count, reason] for reason, count in sorted(done.errors.items())])
    out.document(done)
