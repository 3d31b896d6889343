"""How long the events of a source matter: what is older is a dead letter, and its key is forgotten."""

from skyloom.kernel.records.definitions import FeatureGroupDef, ProjectDef


def horizon_of(project: ProjectDef, source: str) -> int | None:
    """How far (ms) behind the newest event of a source one still counts; ``None``: any does.

    The longest of: the windows over the source with their hop and lateness; the bounds of the labels that it brings, or
    that its requests wait for. A source of none of these is only kept, whole; so are the rows of entity tables, of which
    the newest can be of any age.
    """
    mine = [group for group in project.groups.values() if group.source == source]
    if any(group.attributes for group in mine):
        return None
    groups = [reach_of(group) for group in mine]
    labels = [model.label.within_ms for model in project.models.values() if source in (model.label.source, model.requests)]
    return max([*groups, *labels], default=None)


def reach_of(group: FeatureGroupDef) -> int:
    """How far back (ms) an event of a group is waited for."""
    return max(aggregate.window_ms + aggregate.hop_ms for aggregate in group.aggregates) + group.lateness_ms
