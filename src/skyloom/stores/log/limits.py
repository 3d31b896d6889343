"""What a log keeps: decided for one batch at a time, the oldest first."""

from typing import NamedTuple

from skyloom.kernel.errors import UsageError
from skyloom.ports.log import LogBatch


class Limits(NamedTuple):
    """Retention by bytes and by age (milliseconds); batches that end after ``keep_from`` are kept whatever their size."""

    now_ms: int
    max_bytes: int | None = None
    max_age_ms: int | None = None
    keep_from: int | None = None

    def exceeded(self, oldest: LogBatch, kept_bytes: int) -> bool:
        """Whether the oldest batch is to be forgotten, when ``kept_bytes`` are kept with it.

        >>> old = LogBatch(0, 2, 1_000, False, b"rows")
        >>> Limits(now_ms=5_000, max_age_ms=3_999).exceeded(old, 18), Limits(5_000, max_age_ms=4_000).exceeded(old, 18)
        (True, False)
        >>> Limits(5_000, max_bytes=17).exceeded(old, 18), Limits(5_000, max_bytes=17, keep_from=1).exceeded(old, 18)
        (True, False)
        """
        if self.keep_from is not None and oldest.end > self.keep_from:
            return False
        too_old = self.max_age_ms is not None and self.now_ms - oldest.appended_ms > self.max_age_ms
        return too_old or (self.max_bytes is not None and kept_bytes > self.max_bytes)


def check_position(consumer: str, offset: int) -> None:
    """Raises `UsageError` for what can be no consumer or no position."""
    if not consumer:
        raise UsageError("a consumer needs a name")
    if offset < 0:
        raise UsageError(f"{consumer} cannot stand at offset {offset}", fix="commit an offset of the log")
