"""The training function: its parameters, its source, where it stands."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.ids import digest

Value = float | int | str | bool

_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(function: Callable[..., Any]) -> dict[str, Value]:
    """The defaults, by name, of the parameters after ``X`` and ``y`` that are numbers, texts or truths.

    >>> def train(X, y, *, depth: int = 3, labels=None): ...
    >>> parameters_of(train)
    {'depth': 3}
    """
    taken = list(inspect.signature(function).parameters.values())[2:]
    return {p.name: p.default for p in taken if p.kind in _BY_NAME and isinstance(p.default, float | int | str | bool)}


def complaint_of(function: Callable[..., Any]) -> str | None:
    """Why ``function(X, y)`` cannot be called, or ``None`` when it can."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        return str(error)
    return None


def source_digest(function: Callable[..., Any]) -> str:
    """The SHA-256 of the function's source, dedented, without its decorators: these are compared by meaning.

    Raises `DeclarationError` when the source cannot be read.
    """
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    except (OSError, TypeError) as error:
        raise DeclarationError(
            f"the source of {function.__name__} cannot be read: {error}", fix="write the function with def, in a file"
        ) from error
    return digest(_without_decorators(source).encode())


def reference_of(function: Callable[..., Any], directory: Path, module: str) -> str:
    """``file.py:name``, the file relative to the project (the project's module when it stands elsewhere)."""
    inner = inspect.unwrap(function)
    file = Path(inner.__code__.co_filename)
    shown = file.relative_to(directory).as_posix() if file.is_relative_to(directory) else module
    return f"{shown}:{inner.__qualname__}"


def _without_decorators(source: str) -> str:
    node = ast.parse(source).body[0]
    if not isinstance(node, ast.FunctionDef):
        return source
    return "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])
