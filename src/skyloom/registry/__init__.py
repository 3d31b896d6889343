"""The registry: runs, versions, the champion and its history, over the metadata port."""

from skyloom.registry.champion import Champion, champion_of, champions, crown, predecessor
from skyloom.registry.runs import fail, finish, get_run, list_runs, start
from skyloom.registry.versions import get_version, list_versions, override, register

__all__ = [
    "Champion",
    "champion_of",
    "champions",
    "crown",
    "fail",
    "finish",
    "get_run",
    "get_version",
    "list_runs",
    "list_versions",
    "override",
    "predecessor",
    "register",
    "start",
]
