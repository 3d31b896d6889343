"""Ways: the columns by which a model reaches a group of windowed features, and what the group is called by each."""

from typing import Any

from skyloom.kernel.expr import Term, columns_of
from skyloom.kernel.records.definitions import FeatureRef
from skyloom.plan.lookups import column_name
from skyloom.spec.features import Features, Reached
from skyloom.spec.model import Model
from skyloom.spec.project import Project

Way = Features | Reached


def group_of(way: Way) -> Features:
    """The group that is reached."""
    return way.features if isinstance(way, Reached) else way


def group_name(way: Way, project: Project) -> str:
    """The variable that holds the group."""
    return next(name for name, group in project.groups.items() if group is group_of(way))


def entity_of(way: Way, project: Project) -> tuple[str, ...]:
    """The columns of the request, lookups included, that name the entity, in the order of the group's ``by``."""
    return tuple(column_name(key, project) for key in way.keys) if isinstance(way, Reached) else way.by


def entities_of(model: Model[Any, Any], project: Project) -> list[tuple[Features, tuple[str, ...]]]:
    """The groups of windowed features that a model reads, each with the columns that name its entity."""
    return list(dict.fromkeys((group_of(way), entity_of(way, project)) for way in model.ways))


def name_in_x(way: Way, feature: str, project: Project) -> str:
    """What a feature of the group is called in X: ``{group}_{feature}``, after the prefix of the way, if it has one."""
    prefix = way.prefix if isinstance(way, Reached) else None
    return "_".join(filter(None, (prefix, group_name(way, project), feature)))


def name_in_expressions(way: Way, project: Project) -> str:
    """What expressions call the group: its name, or as in ``activity.of(receiver)`` where other columns than those of its
    ``by`` are the key."""
    name, entity = group_name(way, project), entity_of(way, project)
    return name if entity == group_of(way).by else f"{name}.of({', '.join(entity)})"


def references_of(term: Term, project: Project) -> dict[str, FeatureRef]:
    """The windowed features that an expression reads, each by the name that the declared expression has for it."""
    found: dict[str, FeatureRef] = {}
    for name in columns_of(term.expression, "feature"):
        token, _, feature = name.partition(".")
        way: Way = term.groups[token]
        group, called = group_name(way, project), name_in_expressions(way, project)
        found[name] = FeatureRef(group, feature, entity_of(way, project), "" if called == group else called)
    return found
