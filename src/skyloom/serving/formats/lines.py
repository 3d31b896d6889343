"""Lines of JSON: one row each, an object or a list in the schema's order."""

from skyloom.ingest.rows import RowType
from skyloom.serving.body import decode
from skyloom.serving.formats.asked import Asked, check_count
from skyloom.serving.formats.objects import read_item
from skyloom.serving.wire import Problem


def read_lines(rows: RowType, body: bytes) -> Asked:
    """The rows of lines; empty lines are none. Raises `Problem` with 400 that names the row (from 0) and the field."""
    lines = [line for line in body.splitlines() if line.strip()]
    check_count(len(lines))
    done = []
    for index, line in enumerate(lines):
        try:
            item: object = decode(line)
        except Problem as problem:
            raise Problem(problem.status, f"row {index}: {problem.why}") from problem
        done.append(read_item(rows, item, f"row {index}: "))
    return Asked(done, "lines")
