"""The command ``skyloom``: finds the command that is meant and loads only that.

``skyloom --help`` has to answer in 0.2 s, so it is written from the table below and imports nothing for it.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from skyloom.cli.errors import CUT_OFF, guarded
from skyloom.kernel.errors import SkyloomError, UsageError

if TYPE_CHECKING:
    import typer


class Entry(NamedTuple):
    """A command: where it lives (``module:attribute``, a function or a `typer.Typer`) and what it does, in a line."""

    target: str
    help: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Start": {
        "demo": Entry("skyloom.cli.demo:demo", "The whole loop on real flights, in under a minute."),
        "new": Entry("skyloom.cli.new:new", "A project to start from, with its data."),
        "doctor": Entry("skyloom.cli.doctor:doctor", "What is installed, what is missing, and what mends it."),
    },
    "Declare": {
        "plan": Entry("skyloom.cli.plan:plan", "What would change against what is recorded."),
        "apply": Entry("skyloom.cli.plan:apply", "Check the declarations and record them."),
    },
    "Learn": {
        "ingest": Entry("skyloom.cli.ingest:ingest", "Bring rows in, checked against the contract."),
        "features": Entry("skyloom.cli.features:app", "Windowed features: list, show, preview, backfill, lag, check."),
        "train": Entry("skyloom.cli.train:train", "Train a version, judge it by its gates, begin its rollout."),
        "runs": Entry("skyloom.cli.train:runs", "The training runs."),
        "models": Entry("skyloom.cli.train:models", "The models, their versions, and who serves."),
    },
    "Release": {
        "rollout": Entry("skyloom.cli.rollout:rollout", "How a rollout stands, with its evidence."),
        "releases": Entry("skyloom.cli.releases:releases", "What was released, who obeys it, what is refused."),
        "promote": Entry("skyloom.cli.rollout:promote", "Make a version the champion, by hand."),
        "rollback": Entry("skyloom.cli.rollout:rollback", "End a rollout, or go back to the champion before."),
    },
    "Run": {
        "up": Entry("skyloom.cli.up:up", "Run everything: ingestion, features, serving, judge, API."),
        "serve": Entry("skyloom.cli.up:serve", "The data plane alone."),
        "score": Entry("skyloom.cli.score:score", "Predictions for a table, each as of its row's moment."),
    },
    "Watch": {
        "receipt": Entry("skyloom.cli.receipt:receipt", "What a prediction was made of."),
        "replay": Entry("skyloom.cli.receipt:replay", "A prediction computed again, and compared."),
        "monitor": Entry("skyloom.cli.monitor:monitor", "Health, quality with matured labels, drift, skew."),
        "dashboards": Entry("skyloom.cli.dashboards:dashboards", "A Grafana dashboard and Prometheus alert rules."),
    },
    "Govern": {
        "keys": Entry("skyloom.cli.keys:app", "Create, list and revoke API keys."),
        "erase": Entry("skyloom.cli.erase:erase", "Forget the events of a subject: lake and features."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

_INTRODUCTION = """Usage: skyloom COMMAND [ARGUMENTS]

  Declare a model once, in Python; Skyloom runs its whole life."""
_CLOSING = """Every command takes --help and --json. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (0 done, 1 refused or failed, 2 wrong usage, 130 interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("--help", "-h"):
        print(help_text(), end="")
        return 0
    if words[0] == "--version":
        print(f"skyloom {_version()}")
        return 0
    options = words[: words.index("--")] if "--" in words else words
    return guarded(lambda: _run(words[0], words[1:]), as_json="--json" in options)


def help_text() -> str:
    """What ``skyloom --help`` says."""
    width = max(len(name) for name in COMMANDS)
    parts = [_INTRODUCTION]
    for section, commands in SECTIONS.items():
        parts.append("\n".join([f"{section}:", *(f"  {name:<{width}}  {entry.help}" for name, entry in commands.items())]))
    parts.append(_CLOSING)
    return "\n\n".join(parts)


def _run(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise _unknown(name)
    import typer
    from typer.exceptions import TyperException

    command = typer.main.get_command(_application(COMMANDS[name].target))
    try:
        # not command.main(): that ends the process without a word whenever a pipe or a connection breaks
        with command.make_context(f"skyloom {name}", arguments) as context:
            result = command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        kind = UsageError if error.exit_code == 2 else SkyloomError
        raise kind(error.format_message(), fix=f"skyloom {name} --help") from None
    return result if isinstance(result, int) else 0


def _application(target: str) -> "typer.Typer":
    from importlib import import_module

    import typer

    from skyloom.cli.options import application

    module, attribute = target.split(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return found
    app = application()
    app.command()(found)
    return app


def _unknown(name: str) -> UsageError:
    from skyloom.kernel.ids import nearest

    what = "option" if name.startswith("-") else "command"
    near = nearest(name, list(COMMANDS))
    return UsageError(f"there is no {what} {name!r}", fix=f"skyloom {near[0]}" if near else "skyloom --help")


def _version() -> str:
    from importlib.metadata import version

    return version("skyloom")


def run() -> None:
    """Run one command and end the process, as the installed ``skyloom`` does.

    Nothing is left to do by then: what was stored is stored. Native libraries are not taken apart one by one, which takes
    time, and sometimes ends a process that was done already with a message of its own.
    """
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or CUT_OFF
    os._exit(code)


if __name__ == "__main__":
    run()
