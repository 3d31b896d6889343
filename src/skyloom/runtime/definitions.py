"""The definitions that a version was trained with: kept, because a project moves on while its versions serve."""

import msgspec

from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import ModelDef, ProjectDef
from skyloom.kernel.records.registry import Version
from skyloom.platform import Platform
from skyloom.ports.metadata import Transaction
from skyloom.registry.runs import get_run
from skyloom.runtime.state import read, write

KIND = "definition"


class Definition(msgspec.Struct, frozen=True):
    """One model and the part of its project that it needs."""

    model: ModelDef
    project: ProjectDef


def definition(model: ModelDef, project: ProjectDef) -> Definition:
    """A model with the sources and groups that it needs, and nothing else."""
    groups = {name: project.groups[name] for name in model.groups}
    names = {model.requests, model.label.source, *(group.source for group in groups.values())}
    sources = {name: project.sources[name] for name in sorted(names)}
    return Definition(model, ProjectDef(project.name, sources, groups, {model.name: model}))


def keep(transaction: Transaction, kept: Definition) -> str:
    """Store a definition under its content id; the id."""
    id = content_id(kept)
    if read(transaction, KIND, id, Definition) is None:
        write(transaction, KIND, id, kept, action="keep definition")
    return id


def definition_of(platform: Platform, version: Version) -> Definition:
    """The definition that a version was trained with. Raises `NotFound`."""
    run = get_run(platform.metadata, version.run)
    found = read(platform.metadata, KIND, run.definition, Definition)
    if found is None:
        raise NotFound(f"the definition of {version.model} v{version.number} is gone", tried=run.definition)
    return found
