"""``skyloom dashboards``: what Grafana and Prometheus need to watch Skyloom."""

from pathlib import Path
from typing import Annotated

import typer

from skyloom.cli.options import JsonOption
from skyloom.cli.output import Out
from skyloom.kernel.errors import Refused

FOLDER = Path(__file__).parent.parent / "monitoring" / "dashboards"
FILES = {
    "serving.json": "the dashboard of serving, for Grafana",
    "provider.yaml": "where Grafana finds it (provisioning/dashboards)",
    "alerts.yaml": "alert rules, for Prometheus (rule_files)",
}


def dashboards(
    to: Annotated[
        Path | None, typer.Option("--to", help="Write the files into this directory; without it they are listed.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the dashboard and the alert rules, or write them into a directory."""
    out = Out(json=json)
    written = [] if to is None else write(to)
    out.table(["file", "is"], [[name, said] for name, said in FILES.items()])
    out.line(f"written into {to}" if to is not None else "next: skyloom dashboards --to DIRECTORY")
    out.document({"files": FILES, "written": written})


def write(directory: Path) -> list[Path]:
    """Write every file into a directory, which is made where it is not there; their paths.

    Raises `Refused` before anything is written when one is there already and says something else.
    """
    contents = {directory / name: (FOLDER / name).read_bytes() for name in FILES}
    for path, content in contents.items():
        if path.exists() and not (path.is_file() and path.read_bytes() == content):
            raise Refused(f"{path} is there already, and differs", fix="give another directory, or move it away")
    directory.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        path.write_bytes(content)
    return list(contents)
