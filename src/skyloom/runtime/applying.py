"""`skyloom plan` and `skyloom apply`: the declarations checked, compared with what is recorded, and recorded."""

import msgspec

from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import ProjectDef
from skyloom.plan.compile import compile_project
from skyloom.plan.diff import Change, diff
from skyloom.platform import Platform
from skyloom.runtime.state import CURRENT, PROJECT, Applied, actor, git_commit, read, write
from skyloom.spec.project import load


class Plan(msgspec.Struct, frozen=True):
    """What applying would change: from what is recorded (``before``) to what is declared (``project``)."""

    project: ProjectDef
    digest: str
    before: str | None
    changes: tuple[Change, ...]


def plan(platform: Platform) -> Plan:
    """Check the declarations and compare them with what is recorded. Raises `DeclarationError`."""
    project = compile_project(load(platform.directory))
    recorded = read(platform.metadata, PROJECT, CURRENT, Applied)
    before = None if recorded is None else recorded.project
    return Plan(project, content_id(project), recorded and recorded.digest, tuple(diff(before, project)))


def apply(platform: Platform) -> tuple[Plan, Applied]:
    """Record the declarations, with their digest and the git commit; what changed. Applying again changes nothing."""
    planned = plan(platform)
    record = Applied(planned.project, planned.digest, git_commit(platform.directory), platform.clock.now_ms())
    if planned.digest != planned.before:
        with platform.metadata.transaction(actor()) as transaction:
            write(transaction, PROJECT, CURRENT, record, action="apply")
    return planned, record
