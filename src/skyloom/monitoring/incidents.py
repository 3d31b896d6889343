"""Incidents: what was served and is not what the lake gives. Each is a document of the metadata, so it is audited."""

from collections.abc import Sequence

import msgspec

from skyloom.ingest.rows import Value
from skyloom.kernel.ids import new_id
from skyloom.ports.metadata import Metadata

KIND = "incident"

_SHOWN = 50


class Difference(msgspec.Struct, frozen=True):
    """One value that was served and is not what the lake gives."""

    receipt: str
    input: str
    served: Value
    recomputed: Value


class Incident(msgspec.Struct, frozen=True):
    """Served values of a model were unequal to those recomputed from the lake: found when, by whom.

    ``receipts`` are the ids of the predictions, ``values`` counts what was unequal in them, ``differences`` holds the first
    50.
    """

    id: str
    model: str
    found_ms: int
    found_by: str
    receipts: tuple[str, ...]
    values: int
    differences: tuple[Difference, ...]


def report(metadata: Metadata, model: str, differences: Sequence[Difference], *, actor: str, now_ms: int) -> Incident | None:
    """Record an incident of the predictions that differ; ``None`` when each of them is in one already, or none differs.

    A search that is repeated after a crash, or by a person, therefore records nothing twice.
    """
    with metadata.transaction(actor) as transaction:
        stored = [_decode(document.body) for document in transaction.list(KIND, f"{model}/")]
        known = {receipt for incident in stored for receipt in incident.receipts}
        new = [each for each in differences if each.receipt not in known]
        if not new:
            return None
        receipts = tuple(dict.fromkeys(each.receipt for each in new))
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
