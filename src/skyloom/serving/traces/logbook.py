"""The logbook of a server that traces: what it does for a request that is recorded is a span."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from skyloom.kernel.records.prediction import Receipt
from skyloom.serving.logbook import Logbook, Policy, Sealed
from skyloom.serving.traces.underway import recording


class TracedLogbook(Logbook):
    """Keeps receipts as `Logbook` does."""

    def add(self, policy: Policy, receipts: Sequence[Receipt]) -> bool:
        """As `Logbook.add`."""
        with _traced(len(receipts), receipts[0].id if len(receipts) == 1 else ""):
            return super().add(policy, receipts)

    def seal(self, policy: Policy, batch: Sealed) -> bool:
        """As `Logbook.seal`."""
        with _traced(batch.rows):
            return super().seal(policy, batch)


@contextmanager
def _traced(rows: int, receipt: str = "") -> Generator[None]:
    now, begun = recording(), time.perf_counter()
    yield
    if now is not None:
        now.add("log", begun, {"skyloom.rows": rows, **({"skyloom.receipt": receipt} if receipt else {})})
