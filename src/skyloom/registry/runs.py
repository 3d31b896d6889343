"""Training runs: begun, then done or failed, and never changed again."""

import msgspec

from skyloom.kernel.errors import Conflict, NotFound
from skyloom.kernel.records.registry import Run
from skyloom.ports import Metadata
from skyloom.ports.metadata import Transaction

KIND = "run"


def start(metadata: Metadata, run: Run, *, actor: str) -> Run:
    """Record a run that begins. `Conflict` when its id is taken."""
    running = msgspec.structs.replace(run, status="running")
    with metadata.transaction(actor) as transaction:
        transaction.put(KIND, run.id, msgspec.json.encode(running), action="run.start", expect=0)
    return running


def finish(transaction: Transaction, run: Run) -> Run:
    """Record how a run ended well: its metrics, parameters, split, data and version as they are in ``run``."""
    return _end(transaction, msgspec.structs.replace(run, status="done"), "run.finish")


def fail(metadata: Metadata, run: Run, error: str, finished_ms: int, *, actor: str) -> Run:
    """Record that a run failed, and why."""
    ended = msgspec.structs.replace(run, status="failed", error=error, finished_ms=finished_ms)
    with metadata.transaction(actor) as transaction:
        return _end(transaction, ended, "run.fail")


def _end(transaction: Transaction, run: Run, action: str) -> Run:
    document = transaction.get(KIND, run.id)
    if document is None:
        raise NotFound(f"there is no run {run.id}", fix="skyloom runs")
    status = msgspec.json.decode(document.body, type=Run).status
    if status != "running":
        raise Conflict(f"run {run.id} has ended already: {status}")
    transaction.put(KIND, run.id, msgspec.json.encode(run), action=action, expect=document.version)
    return run


def get_run(metadata: Metadata, run: str) -> Run:
    """The run of that id; `NotFound`."""
    document = metadata.get(KIND, run)
    if document is None:
        raise NotFound(f"there is no run {run}", fix="skyloom runs")
    return msgspec.json.decode(document.body, type=Run)


def list_runs(metadata: Metadata, model: str | None = None) -> list[Run]:
    """All runs (of one model), oldest first."""
    runs = [msgspec.json.decode(document.body, type=Run) for document in metadata.list(KIND)]
    return sorted((run for run in runs if model in (None, run.model)), key=lambda run: (run.started_ms, run.id))
