"""`skyloom features check` and `lag`: served values against the lake now, and how far behind everything is."""

import msgspec

from skyloom.kernel.records.definitions import ModelDef
from skyloom.monitoring.incidents import Incident, incidents, report
from skyloom.platform import Platform
from skyloom.runtime.features import GroupStanding, standings
from skyloom.runtime.monitoring import lags
from skyloom.runtime.skew import Skew, check_skew
from skyloom.runtime.state import applied, model_of
from skyloom.runtime.watched import Watched, watched
from skyloom.runtime.worker import Lag


class Checked(msgspec.Struct, frozen=True):
    """What a check compared, by model; the incidents that it recorded, and every one there is, oldest first."""

    skew: dict[str, Skew]
    new: tuple[Incident, ...]
    incidents: tuple[Incident, ...]

    @property
    def unequal(self) -> int:
        """How many values differ now."""
        return sum(len(skew.differences) for skew in self.skew.values())


class Behind(msgspec.Struct, frozen=True):
    """How far behind: each topic of the log, each group of features, and the watch over each model."""

    topics: dict[str, Lag]
    groups: tuple[GroupStanding, ...]
    watched: tuple[Watched, ...]


def check(platform: Platform, model: str | None, sample: int | None, *, actor: str) -> Checked:
    """Compute served predictions again from the lake, all or the newest ``sample`` of each model, and record what differs.

    Raises `NotFound` for a model that is not there.
    """
    found: dict[str, Skew] = {}
    new: list[Incident] = []
    for each in _models(platform, model):
        found[each.name] = check_skew(platform, each.name, sample)
        now = platform.clock.now_ms()
        incident = report(platform.metadata, each.name, found[each.name].differences, actor=actor, now_ms=now)
        new += [] if incident is None else [incident]
    return Checked(found, tuple(new), tuple(incidents(platform.metadata, model)))


def behind(platform: Platform) -> Behind:
    """How far behind the project's stream work and its watch are."""
    project = applied(platform.metadata).project
    watches = tuple(watched(platform, name) for name in project.models)
    return Behind(lags(platform, project), tuple(standings(platform)), watches)


def _models(platform: Platform, model: str | None) -> list[ModelDef]:
    return list(applied(platform.metadata).project.models.values()) if model is None else [model_of(platform, model)]
