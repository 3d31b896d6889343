"""Which file of a directory is the project."""

import re
from pathlib import Path
from typing import Any

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.ids import nearest
from skyloom.spec.profile import FILE, read_settings

_KEYS = ("name", "module")
_DECLARES_MODEL = re.compile(r"^@(\w+\.)?model\(", re.MULTILINE)
_DECLARES_SOURCE = re.compile(r"^\w+\s*=\s*(\w+\.)?Source\(", re.MULTILINE)


def locate(directory: Path) -> tuple[str, Path]:
    """The name of the project in ``directory`` and its module's file.

    ``[project]`` of ``skyloom.toml`` says both; without ``module`` it is the one Python file that declares a model (or
    where none does, a source), and without ``name`` the project is called as its file. Raises `DeclarationError` when that
    is no file or not one.
    """
    if not directory.is_dir():
        raise DeclarationError(f"there is no directory {directory}", fix="skyloom new DIR --example flights")
    table = read_settings(directory).get("project", {})
    _check_table(table)
    path = _declared(directory, table["module"]) if "module" in table else _only(directory)
    return table.get("name", path.stem), path


def _check_table(table: dict[str, Any]) -> None:
    for key, value in table.items():
        if key not in _KEYS:
            near = nearest(key, list(_KEYS)) or list(_KEYS)
            raise DeclarationError(
                f"{FILE}: [project] has no key {key!r}", tried=", ".join(_KEYS), fix=f"did you mean {' or '.join(near)}?"
            )
        if not isinstance(value, str) or not value:
            raise DeclarationError(f"{FILE}: [project] {key} = {value!r} is no text", fix=f'say {key} = "flights"')


def _declared(directory: Path, module: str) -> Path:
    path = (directory / module).resolve()
    if not path.is_relative_to(directory):
        raise DeclarationError(f"{FILE}: module = {module!r} is outside of the project", fix=f"move it into {directory}")
    if path.suffix != ".py" or not path.is_file():
        found = sorted(file.name for file in directory.glob("*.py"))
        raise DeclarationError(
            f"{FILE}: module = {module!r} is no Python file",
            tried=str(path),
            fix=f'say module = "{(found or ["flights.py"])[0]}"',
        )
    return path


def _only(directory: Path) -> Path:
    files = sorted(directory.glob("*.py"))
    models = [path for path in files if _declares(_DECLARES_MODEL, path)]
    candidates = models or [path for path in files if _declares(_DECLARES_SOURCE, path)]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise DeclarationError(
            "no Python file here declares a model or a source",
            tried=f"{directory}/*.py",
            fix="skyloom new DIR --example flights, or run this in the project's directory",
        )
    raise DeclarationError(
        f"several files declare {'models' if models else 'sources'}: {', '.join(path.name for path in candidates)}",
        tried=f"{directory}/*.py",
        fix=f'say which one in {FILE}: [project] module = "{candidates[0].name}"',
    )


def _declares(what: re.Pattern[str], path: Path) -> bool:
    text = path.read_text("utf-8", errors="replace")
    return "skyloom" in text and what.search(text) is not None
