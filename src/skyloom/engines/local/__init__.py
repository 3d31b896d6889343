"""This machine: supervised processes, subprocess jobs, and the lock of a project."""

from skyloom.engines.local.child import notify_ready, tie_to_parent
from skyloom.engines.local.compute import SubprocessCompute
from skyloom.engines.local.lock import Holder, hold_project, project_holder
from skyloom.engines.local.process import ChildSpec
from skyloom.engines.local.restart import Restarts
from skyloom.engines.local.supervisor import ChildEvent, Supervisor

__all__ = [
    "ChildEvent",
    "ChildSpec",
    "Holder",
    "Restarts",
    "SubprocessCompute",
    "Supervisor",
    "hold_project",
    "notify_ready",
    "project_holder",
    "tie_to_parent",
]
