"""`skyloom features backfill`: a group built anew from all history in the lake, while the old values serve."""

from collections.abc import Callable

from skyloom.kernel.errors import Transient
from skyloom.platform import Platform
from skyloom.runtime.features import found_features
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied
from skyloom.runtime.worker import Progress, progress_of, rebuild


def backfill(platform: Platform, name: str, on_progress: Callable[[Progress], None]) -> Progress:
    """Build the group of a feature anew and wait until it is done; what it was at the end.

    The worker does it, a running one or, when none runs, this process. Whoever stops waiting stops nothing: the building
    goes on with the next worker. Raises `NotFound` with the nearest names, `Transient` when nobody moves it for a minute.
    """
    project = applied(platform.metadata).project
    group, _ = found_features(project, name)
    progress = rebuild(platform, group)
    on_progress(progress)
    while not progress.done:
        before = progress
        try:
            settle(platform, project)
        except Transient:
            if progress_of(platform, group) == before:
                raise
        progress = progress_of(platform, group)
        on_progress(progress)
    return progress
