"""Importing a project's module, and telling its author what went wrong in their own code."""

import importlib
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from skyloom.kernel.errors import DeclarationError

_MARK = "__skyloom_project__"


@contextmanager
def project_path(directory: Path) -> Generator[None]:
    """While this lasts, the modules in ``directory`` can be imported by name."""
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if str(directory) in sys.path:
            sys.path.remove(str(directory))


def import_project(directory: Path, path: Path) -> ModuleType:
    """Import the file ``path`` of the project ``directory``, and whatever it imports from there, anew.

    Modules stay in `sys.modules` until the next project is imported. Raises `DeclarationError` with the user's traceback,
    trimmed to the frames of the project.
    """
    name = _module_name(directory, path)
    _forget_projects(path)
    if name in sys.modules or name in sys.builtin_module_names:
        raise _taken(path)
    before = set(sys.modules)
    with project_path(directory), _no_bytecode():
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise _explain(error, directory, path) from error
        finally:
            _mark(directory, before)
    if Path(str(module.__file__)) != path:
        raise _taken(path)
    return module


def _module_name(directory: Path, path: Path) -> str:
    parts = path.relative_to(directory).with_suffix("").parts
    if not all(part.isidentifier() for part in parts):
        raise DeclarationError(f"{path.name} cannot be imported by that name", fix="rename it: letters, digits and _ only")
    return ".".join(parts)


def _taken(path: Path) -> DeclarationError:
    return DeclarationError(f"{path.name} has the name of a module of Python's or of a library", fix="rename it")


def _forget_projects(path: Path) -> None:
    for name, module in list(sys.modules.items()):
        same = name != "__main__" and getattr(module, "__file__", None) == str(path)
        if same or hasattr(module, _MARK):
            del sys.modules[name]


def _mark(directory: Path, before: set[str]) -> None:
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        ours = name.partition(".")[0] == "skyloom"
        if not ours and _inside(getattr(module, "__file__", None), directory):
            setattr(module, _MARK, str(directory))


def _inside(file: str | None, directory: Path) -> bool:
    """Whether a file is the project's own: a library in an environment that lies within the project is not."""
    return file is not None and Path(file).is_relative_to(directory) and "site-packages" not in Path(file).parts


@contextmanager
def _no_bytecode() -> Generator[None]:
    """Stored bytecode is told from stale by whole seconds and the file's size: an edit within a second would be missed."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _explain(error: BaseException, directory: Path, path: Path) -> DeclarationError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _inside(frame.filename, directory)]
    place = _place(error, frames, directory, path)
    if isinstance(error, DeclarationError):
        return DeclarationError(f"{place}: {error.what}", tried=error.tried, fix=error.fix)
    cycle = _circle(error, [Path(frame.filename) for frame in frames])
    if cycle:
        circle = " -> ".join(file.name for file in cycle)
        return DeclarationError(
            f"modules import each other in a circle: {circle}",
            tried=place,
            fix=f"move what both need into a file of its own, and let {cycle[-1].name} and {cycle[-2].name} import that",
        )
    text = "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)]).rstrip()
    fix = f"mend {place}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        fix = f"install the package that holds {error.name}, or mend the import in {place}"
    return DeclarationError(f"{path.name} does not import\n{text}", fix=fix)


def _place(error: BaseException, frames: list[traceback.FrameSummary], directory: Path, path: Path) -> str:
    if isinstance(error, SyntaxError) and _inside(error.filename, directory):
        return f"{Path(str(error.filename)).relative_to(directory)}, line {error.lineno}"
    if frames:
        return f"{Path(frames[-1].filename).relative_to(directory)}, line {frames[-1].lineno}"
    return path.name


def _circle(error: BaseException, files: list[Path]) -> list[Path]:
    """The files of an import circle, first and last the same; empty when the error is another one."""
    half = error.path if isinstance(error, ImportError) else None
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        half = error.obj.__file__
    if half is None or Path(half) not in files[:-1]:
        return []
    start = files.index(Path(half))
    return [*dict.fromkeys(files[start:]), Path(half)]
