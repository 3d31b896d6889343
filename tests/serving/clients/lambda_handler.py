"""A function for AWS's own runtime interface client (awslambdaric)."""

from typing import Any


def handle(event: Any, context: Any) -> Any:
    if event == {"raise": True}:
        raise LookupError("no such thing")
    return {"event": event, "id": context.aws_request_id, "left_ms": context.get_remaining_time_in_millis()}
