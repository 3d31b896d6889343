"""What must be kept up to date: the features that are declared, and those that a released version still reads."""

from skyloom.delivery.release import current
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import FeatureGroupDef, ProjectDef
from skyloom.kernel.records.release import Release
from skyloom.platform import Platform
from skyloom.runtime.state import applied


def released(platform: Platform) -> Release | None:
    """The release that serving obeys, or ``None`` before the first."""
    found = current(platform.objects, platform.verifier)
    return None if found is None else found[1]


def worker_project(platform: Platform) -> ProjectDef:
    """The applied project, with the feature groups of the release where these differ from the applied ones.

    A version goes on reading the features that it learned from, also when the project has other ones by now.
    """
    project = applied(platform.metadata).project
    release = released(platform)
    groups: dict[str, FeatureGroupDef] = dict(project.groups)
    for name, group in release.groups.items() if release else ():
        if group.source in project.sources and groups.get(name) != group:
            groups[f"{name}@{content_id(group)[:12]}"] = group
    return ProjectDef(project.name, project.sources, groups, project.models)
