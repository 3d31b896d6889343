"""How long the events of a source matter: what is older is a dead letter, and its key is forgotten."""

from skyloom.kernel.records.definitions import LIFETIME, FeatureGroupDef, ProjectDef


def horizon_of(project: ProjectDef, source: str) -> int | None:
    """How far (ms) behind the newest event of a source one still counts; ``None``: any does.

    The longest of: the windows over the source with their offset, hop and lateness; the bounds of the labels that it brings,
    or that its requests wait for. A source of none of these is only kept, whole; so are the events of a window over a
    lifetime, and the rows of entity tables, of which the newest can be of any age.
    """
    mine = [group for group in project.groups.values() if group.source == source]
    if any(group.attributes for group in mine):
        return None
    reaches = [reach_of(group) for group in mine]
    known = [reach for reach in reaches if reach is not None]
    if len(known) < len(reaches):
        return None
    labels = [model.label.within_ms for model in project.models.values() if source in (model.label.source, model.requests)]
    return max([*known, *labels], default=None)


def reach_of(group: FeatureGroupDef) -> int | None:
    """How far back (ms) an event of a group is waited for; ``None``: for ever."""
    if any(aggregate.window_ms >= LIFETIME for aggregate in group.aggregates):
        return None
    return max(each.offset_ms + each.window_ms + each.hop_ms for each in group.aggregates) + group.lateness_ms
