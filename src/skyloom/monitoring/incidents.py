"""Incidents: what was served and is not what the lake gives. Each is a document of the metadata, so it is audited."""

from collections.abc import Sequence

import msgspec

from skyloom.ingest.rows import Value
from skyloom.kernel.ids import new_id
from skyloom.kernel.units import MINUTE
from skyloom.ports.metadata import Metadata

KIND = "incident"

QUIET_MS = 10 * MINUTE
"""What is found of a model so soon after an incident belongs to it."""

_SHOWN, _NAMED = 50, 1_000


class Difference(msgspec.Struct, frozen=True):
    """One value that was served and is not what the lake gives."""

    receipt: str
    input: str
    served: Value
    recomputed: Value


class Incident(msgspec.Struct, frozen=True):
    """Served values of a model were unequal to those recomputed from the lake: found when, by whom.

    ``receipts`` are the ids of the predictions (1,000 of them at most), ``values`` counts what was unequal, ``differences``
    holds the first 50. What more was found within the next ten minutes is in the log and in the meters.
    """

    id: str
    model: str
    found_ms: int
    found_by: str
    receipts: tuple[str, ...]
    values: int
    differences: tuple[Difference, ...]


def report(metadata: Metadata, model: str, differences: Sequence[Difference], *, actor: str, now_ms: int) -> Incident | None:
    """Record an incident of the predictions that differ; ``None`` when none differs, each is in an incident already, or one
    was found in the last ten minutes.

    A search that is repeated after a crash, or by a person, therefore records nothing twice, and a fault that goes on is no
    flood of documents.
    """
    with metadata.transaction(actor) as transaction:
        stored = [_decode(document.body) for document in transaction.list(KIND, f"{model}/")]
        known = {receipt for incident in stored for receipt in incident.receipts}
        new = [each for each in differences if each.receipt not in known]
        if not new or any(0 <= now_ms - incident.found_ms < QUIET_MS for incident in stored):
            return None
        receipts = tuple(dict.fromkeys(each.receipt for each in new))[:_NAMED]
        incident = Incident(new_id("incident"), model, now_ms, actor, receipts, len(new), tuple(new[:_SHOWN]))
        body = msgspec.json.encode(incident)
        transaction.put(KIND, f"{model}/{incident.id}", body, action="incident.found", expect=0)
    return incident


def incidents(metadata: Metadata, model: str | None = None) -> list[Incident]:
    """Every incident, of one model or of all, oldest first."""
    found = [_decode(document.body) for document in metadata.list(KIND, f"{model}/" if model else "")]
    return sorted(found, key=lambda incident: (incident.found_ms, incident.id))


def _decode(body: bytes) -> Incident:
    return msgspec.json.decode(body, type=Incident)
