"""``skyloom score``: predictions for a table."""

from typing import Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out

_IN = "Requests: a Parquet, CSV, NDJSON or Arrow file, a folder of them, delta://FOLDER, DATABASE-URL?table=...&cursor=..."
_OUT = "Where predictions go: a file, FOLDER/ (Parquet), delta://FOLDER or DATABASE-URL?table=..."


def score(
    model: Annotated[str, typer.Argument(help="The model's name in the project.")],
    source: Annotated[str, typer.Argument(metavar="IN", help=_IN)],
    target: Annotated[str, typer.Argument(metavar="OUT", help=_OUT)],
    version: Annotated[int | None, typer.Option("--version", help="Another version than the champion.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, whatever a killed run had done.")] = False,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Predict for every row of a table, with its features as of the row's own moment.

    A run that was killed goes on when the same command is typed again. OUT is replaced as a whole when all is done.
    """
    from skyloom.platform import open_platform
    from skyloom.runtime.scoring import running

    out, platform = Out(json=json), open_platform(profile=profile)
    with running(platform, model, source, target, version=version, restart=restart) as run:
        if run.known:
            out.line(f"{run.known:,} rows are scored already, by v{run.begun.version}: going on behind them")
        with out.progress(f"scoring {source}", run.expected, done=run.known, unit="rows") as progress:
            done = run.finish(progress.advance)
    out.line(f"{done.model} v{done.version}: {done.scored:,} of {done.rows:,} rows have a score, in {done.path}")
    if done.errors:
        out.table(["rows", "error"], [[count, reason] for reason, count in sorted(done.errors.items())])
    out.document(done)
