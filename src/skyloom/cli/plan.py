"""``skyloom plan`` and ``skyloom apply``: declared against recorded, and recorded."""

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out


def plan(profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Show what would change, and change nothing."""
    from skyloom.plan.explain import explain
    from skyloom.platform import open_platform
    from skyloom.runtime.applying import plan as plan_project

    out = Out(json=json)
    planned = plan_project(open_platform(profile=profile))
    out.line(explain(planned.changes))
    if planned.changes:
        out.line("next: skyloom apply")
    out.document({"digest": planned.digest, "recorded": planned.before, "changes": planned.changes})


def apply(profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Record the declarations, with their digest and the git commit."""
    from skyloom.plan.explain import explain
    from skyloom.platform import open_platform
    from skyloom.runtime.applying import apply as apply_project

    out = Out(json=json)
    planned, record = apply_project(open_platform(profile=profile))
    out.line(explain(planned.changes) if planned.changes else "nothing changed")
    out.line(f"recorded as {record.digest[:12]}, commit {record.commit or 'none (not under git)'}")
    out.document({"digest": record.digest, "commit": record.commit, "changes": planned.changes})
