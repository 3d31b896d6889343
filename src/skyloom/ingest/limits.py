"""How much one request may bring."""

from skyloom.kernel.errors import DataError

MAX_REQUEST_ROWS = 65_536
"""Rows of one request."""

MAX_EXPANDED = 16 * 2**20
"""Bytes that the rows of one Arrow body may take once they are unpacked."""


def too_many() -> DataError:
    """What is said of a body with more than `MAX_REQUEST_ROWS` rows."""
    return DataError(f"the body holds more than {MAX_REQUEST_ROWS:,} rows", fix="send fewer rows at once")
