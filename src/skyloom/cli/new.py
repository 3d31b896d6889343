"""``skyloom new``: a project to start from."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from skyloom.cli.options import JsonOption
from skyloom.cli.output import Out
from skyloom.kernel.errors import Refused, UsageError

_EXAMPLES = Path(__file__).parent.parent / "examples"
_PREPARE = "prepare.py"
_IGNORED = ".skyloom/\ndata/\n__pycache__/\n"


def new(
    directory: Annotated[Path, typer.Argument(help="Where the project goes: a new or an empty directory.")],
    example: Annotated[str, typer.Option("--example", help="Which one; a name that is not there lists them.")] = "flights",
    json: JsonOption = False,
) -> None:
    """Make a project to start from, with its data."""
    out = Out(json=json)
    if example not in examples():
        raise UsageError(f"there is no example {example!r}", fix=f"one of: {', '.join(examples())}")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise Refused(f"{directory} is there already, and not empty", fix="give a new directory")
    files = create(directory, example)
    out.line(f"{directory}: a project made from the example {example}")
    out.table(["file", "bytes"], [[name, size] for name, size in files.items()])
    out.line(f"next: cd {directory}, and read its README.md")
    out.document({"directory": directory.resolve(), "example": example, "files": files})


def examples() -> list[str]:
    """The names of the examples that are shipped."""
    return sorted(path.parent.name for path in _EXAMPLES.glob("*/skyloom.toml"))


def create(directory: Path, name: str) -> dict[str, int]:
    """Make a project from an example, whole or not at all; its files and their sizes in bytes."""
    example = _EXAMPLES / name
    target = directory.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        made = Path(scratch)
        for path in sorted(example.iterdir()):
            if path.is_file() and path.name != _PREPARE:
                shutil.copyfile(path, made / path.name)
        (made / ".gitignore").write_text(_IGNORED)
        if (example / _PREPARE).exists():
            _prepare(example / _PREPARE, made)
        target.mkdir(exist_ok=True)
        for path in made.iterdir():
            shutil.move(path, target / path.name)
    return {str(path.relative_to(target)): path.stat().st_size for path in sorted(target.rglob("*")) if path.is_file()}


def _prepare(script: Path, directory: Path) -> None:
    """Let the example write its data. It is loaded by path: the command line imports no example."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"skyloom_example_{script.parent.name}", script)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(script)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.prepare(directory)
