"""This machine: supervised processes, subprocess jobs, and the lock of a project."""

from skyloom.engines.local.child import notify_ready, tie_to_parent
from skyloom.engines.local.compute import SubprocessCompute
from skyloom.engines.local.cradle import Birth, raise_children
from skyloom.engines.local.lock import Holder, hold_project, project_holder
from skyloom.engines.local.nursery import attended
from skyloom.engines.local.process import ChildSpec
from skyloom.engines.local.restart import Restarts
from skyloom.engines.local.supervisor import ChildEvent, Supervisor

__all__ = [
    "Birth",
    "ChildEvent",
    "ChildSpec",
    "Holder",
    "Restarts",
    "SubprocessCompute",
    "Supervisor",
    "attended",
    "hold_project",
    "notify_ready",
    "project_holder",
    "raise_children",
    "tie_to_parent",
]
