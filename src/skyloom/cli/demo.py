"""``skyloom demo``: the whole loop on real flights."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.options import JsonOption
from skyloom.cli.output import Out

if TYPE_CHECKING:
    from skyloom.platform import Platform


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where the demo's project is kept.")] = Path("skyloom-demo"),
    stay: Annotated[bool, typer.Option("--stay", help="Leave everything running until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> None:
    """Play a model's whole life on the flights out of New York in 2013."""
    from skyloom.cli.new import create
    from skyloom.runtime.demo.story import tell_story

    out = Out(json=json)
    out.line("One model's whole life, on the real departures from New York in 2013.")

    def remain(platform: "Platform") -> None:
        _remain(out, platform)

    tell = tell_story(
        directory.resolve(), out.line, new_project=lambda where: create(where, "flights"), stay=remain if stay else None
    )
    out.line(f"\ndone in {tell.elapsed:.1f} s; the project is in {directory}")
    out.document({"seconds": tell.elapsed, "directory": directory.resolve(), "steps": tell.steps})


def _remain(out: Out, platform: "Platform") -> None:
    from skyloom.runtime.up import key_of, running

    found = running(platform)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if found:
        out.line("\nEverything goes on running; Ctrl-C ends it.")
        out.fields({"serving": found.serving, "api": found.api, "key": key_of(platform)})
    ended.wait()
