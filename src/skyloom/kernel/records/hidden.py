"""What of a receipt follows from columns that are not to be kept."""

from skyloom.kernel.expr import columns_of
from skyloom.kernel.records.definitions import InputDef, ModelDef


def hash_name(column: str) -> str:
    """What a redacted request calls the hash that stands for a column.

    >>> hash_name("email")
    'hash(email)'
    """
    return f"hash({column})"


def mark_name(column: str) -> str:
    """What a redacted request calls the null that stands for a column.

    >>> mark_name("email")
    'redacted(email)'
    """
    return f"redacted({column})"


def hidden_inputs(model: ModelDef) -> dict[str, str]:
    """The inputs of a model that follow from columns its logbook redacts: name -> the column whose hash stands for it, or
    empty for those that a receipt has no value of.

    An input follows from a column that its expression reads, or by which its features or rows are looked up.
    """
    redacted = {*model.logbook.redact, *model.logbook.hashed}
    hidden: dict[str, str] = {}
    if not redacted:
        return hidden
    rows = {each.name for each in model.lookups if any(_follows(column, redacted, set()) for column in each.entity)}
    for _ in model.lookups:  # a row may be looked up by a column of another one
        rows |= {each.name for each in model.lookups if any(_follows(column, redacted, rows) for column in each.entity)}
    for each in model.inputs:
        read = _columns(each)
        if any(_follows(column, redacted, rows) for column in read):
            plain = each.expression is not None and each.expression.op == "col" and str(each.expression.value)
            hidden[each.name] = plain if plain and plain in model.logbook.hashed else ""
    return hidden


def is_redacted(request: dict[str, float | int | str | bool | None], columns: tuple[str, ...]) -> bool:
    """Whether columns of its schema were taken out of the request of a receipt: what was made of it cannot be made again.
    One that lacks a column for no reason is damaged, and no redacted one."""
    missing = [column for column in columns if column not in request]
    return bool(missing) and all(mark_name(column) in request or hash_name(column) in request for column in missing)


def _columns(each: InputDef) -> set[str]:
    read = set() if each.expression is None else set(columns_of(each.expression))
    return read.union(*(ref.entity for ref in each.features))


def _follows(column: str, redacted: set[str], rows: set[str]) -> bool:
    return column in redacted or column.partition(".")[0] in rows
