"""Projects: a module of declarations, loaded and collected by the names that its variables have."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from skyloom.kernel.errors import DeclarationError, NotFound
from skyloom.kernel.ids import nearest
from skyloom.spec.features import Features
from skyloom.spec.importing import import_project, project_path
from skyloom.spec.label import Label
from skyloom.spec.locate import locate
from skyloom.spec.model import Model
from skyloom.spec.source import Source
from skyloom.spec.table import Table


class Project(msgspec.Struct, frozen=True, eq=False):
    """What a project declares, by name; a name is the variable that holds the declaration in the project's module.

    ``module`` is the module's file, relative to ``directory``.
    """

    name: str
    directory: Path
    module: str
    sources: dict[str, Source]
    groups: dict[str, Features]
    labels: dict[str, Label]
    models: dict[str, Model[Any, Any]]
    tables: dict[str, Table] = {}

    def function(self, name: str) -> Callable[..., Any]:
        """The training function of the model ``name``; while it runs, it can import the project's other modules.

        Raises `NotFound` (with the nearest names) when there is no such model.
        """
        if name not in self.models:
            known = list(self.models)
            near = nearest(name, known) or known
            fix = f"did you mean {' or '.join(near)}?" if near else f"declare one with @sky.model in {self.module}"
            raise NotFound(f"there is no model {name!r} in {self.module}", tried=", ".join(known), fix=fix)
        function = self.models[name].function

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with project_path(self.directory):
                return function(*args, **kwargs)

        return call


def load(directory: Path) -> Project:
    """Read ``skyloom.toml``, import the project's module and collect what it declares.

    Every call imports the project's files anew. Raises `DeclarationError` when there is no project, when its module does
    not import (with the traceback of the user's own code), and for a declaration in use that no variable holds.
    """
    directory = directory.resolve()
    name, path = locate(directory)
    module = import_project(directory, path)
    project = Project(
        name,
        directory,
        path.relative_to(directory).as_posix(),
        _named(module, Source),
        _named(module, Features),
        _named(module, Label),
        _named(module, Model),
        _named(module, Table),
    )
    _require_names(project)
    return project


def _named(module: ModuleType, kind: type[Any]) -> dict[str, Any]:
    names: dict[int, str] = {}
    for name, value in vars(module).items():
        if isinstance(value, kind):
            names.setdefault(id(value), name)
    return {name: getattr(module, name) for name in names.values()}


def _require_names(project: Project) -> None:
    complaints: list[str] = []
    for name, model in project.models.items():
        complaints += _nameless(f"the requests of {name}", [model.requests], project.sources.values(), "Source")
        complaints += _nameless(f"the label of {name}", [model.label.source], project.sources.values(), "Source")
        complaints += _nameless(f"a feature of {name}", model.groups, project.groups.values(), "Features")
        complaints += _nameless(f"a feature of {name}", [g.source for g in model.groups], project.sources.values(), "Source")
        tables = [row.table for row in model.rows]
        complaints += _nameless(f"a feature of {name}", tables, project.tables.values(), "Table")
    for name, table in project.tables.items():
        complaints += _nameless(name, [table.source], project.sources.values(), "Source")
    for name, group in project.groups.items():
        complaints += _nameless(name, [group.source], project.sources.values(), "Source")
    for name, label in project.labels.items():
        complaints += _nameless(name, [label.source], project.sources.values(), "Source")
    if complaints:
        raise DeclarationError(
            "; ".join(dict.fromkeys(complaints)),
            fix=f"give it a name: write  some_name = ...  at the top level of {project.module}, and use some_name",
        )


def _nameless(user: str, used: Iterable[object], named: Iterable[object], kind: str) -> list[str]:
    known = {id(value) for value in named}
    return [f"{user} uses a {kind} that has no name" for value in used if id(value) not in known]
