"""What would change: the declared project against the recorded one."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from skyloom.kernel.records.definitions import FeatureGroupDef, ModelDef, ProjectDef, SourceDef
from skyloom.plan.aspects import group_aspects, model_aspects, size_of, source_aspects
from skyloom.plan.wording import plural

Definition = TypeVar("Definition", SourceDef, FeatureGroupDef, ModelDef)

_AT_ONCE = ("retrain", "budget", "logbook", "max_latency")
_BY_LOOP = ("gates", "rollout")


class Change(msgspec.Struct, frozen=True):
    """One ``kind`` of change (``add``, ``change``, ``remove``) to a ``project``, ``source``, ``features`` or ``model``."""

    kind: str
    what: str
    name: str
    detail: str
    consequence: str


def diff(recorded: ProjectDef | None, declared: ProjectDef, champions: Mapping[str, int] | None = None) -> list[Change]:
    """The changes that lead from ``recorded`` (``None``: nothing yet) to ``declared``; none exactly when they are equal.

    ``champions`` maps models to the version that serves now.

    >>> diff(ProjectDef("a", {}, {}, {}), ProjectDef("b", {}, {}, {}))[0].detail
    'name: a -> b'
    """
    serving = champions or {}
    before = ProjectDef(declared.name, {}, {}, {}) if recorded is None else recorded
    changes: list[Change] = []
    if before.name != declared.name:
        detail = f"name: {before.name} -> {declared.name}"
        changes.append(Change("change", "project", declared.name, detail, "nothing is computed again"))
    changes += _compare("source", before.sources, declared.sources, source_aspects, _source_consequence)
    changes += _compare("features", before.groups, declared.groups, group_aspects, _group_consequence)
    changes += _compare(
        "model", before.models, declared.models, model_aspects, lambda k, a, d: _model_consequence(k, a, d, serving)
    )
    return changes


def _compare(
    what: str,
    before: Mapping[str, Definition],
    after: Mapping[str, Definition],
    aspects: Callable[[Definition], dict[str, str]],
    consequence: Callable[[str, str, Definition], str],
) -> list[Change]:
    changes = [
        Change("remove", what, name, "", consequence("remove", "", before[name])) for name in before if name not in after
    ]
    for name, new in after.items():
        old = before.get(name)
        if old is None:
            changes.append(Change("add", what, name, "", consequence("add", "", new)))
        elif old != new:
            details = _details(aspects(old), aspects(new)) or {"order": "the order of its parts"}
            changes += [Change("change", what, name, text, consequence("change", key, new)) for key, text in details.items()]
    return changes


def _details(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    details: dict[str, str] = {}
    for key in dict.fromkeys((*old, *new)):
        if key not in new:
            details[key] = f"{key} removed (was {old[key]})"
        elif key not in old:
            details[key] = f"{key} added: {new[key]}"
        elif old[key] != new[key]:
            details[key] = f"{key}: {old[key]} -> {new[key]}"
    return details


def _source_consequence(kind: str, aspect: str, source: SourceDef) -> str:
    if kind == "remove":
        return "its stored rows stay"
    if kind == "add":
        return f"bring rows in: skyloom ingest {source.name}"
    if aspect == "doc":
        return "nothing is computed again"
    return "rows that are brought in from now on follow it; stored rows stay"


def _group_consequence(kind: str, aspect: str, group: FeatureGroupDef) -> str:
    if kind == "remove":
        return "it is no longer computed for new versions; versions that use it keep it"
    if kind == "add":
        return f"builds {_size(group)}"
    if aspect == "doc":
        return "nothing is computed again"
    touched = [a for a in group.aggregates if aspect in (f"feature {a.name}", f"precision of {a.column}")]
    if aspect.startswith("feature ") and not touched:
        return "it is no longer computed for new versions; versions that use it keep it"
    return f"rebuilds {size_of(touched) if touched else _size(group)}"


def _size(group: FeatureGroupDef) -> str:
    return f"a table of {plural(len(group.attributes), 'column')}" if group.attributes else size_of(group.aggregates)


def _model_consequence(kind: str, aspect: str, model: ModelDef, champions: Mapping[str, int]) -> str:
    version = champions.get(model.name)
    if kind == "remove":
        return "nothing of it serves" if version is None else f"v{version} serves until it is taken out of the release"
    if kind == "add":
        return f"it has no version yet: skyloom train {model.name}"
    if aspect == "doc":
        return "nothing is computed again"
    if aspect in _AT_ONCE:
        return "applies at once"
    if aspect in _BY_LOOP:
        return "the next version must follow it"
    kept = "" if version is None else f"; v{version} keeps serving its own definition"
    return f"the next training uses it{kept}"
