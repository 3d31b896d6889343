"""The options that many commands share."""

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="The table of skyloom.toml that says where things are.")]


def application() -> typer.Typer:
    """A group of commands as every noun has it: plain help, no shell completion to install."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)
