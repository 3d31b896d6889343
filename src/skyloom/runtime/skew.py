"""Zero skew, proved on what was served: every prediction's features computed again from the lake, compared with ``==``."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from skyloom.ingest.partitions import source_of
from skyloom.ingest.receipts import RECEIPTS, receipts_from
from skyloom.ingest.rows import Value
from skyloom.kernel.records.hidden import is_redacted
from skyloom.kernel.records.prediction import Receipt, predictions_topic
from skyloom.kernel.units import MINUTE
from skyloom.monitoring.incidents import Difference
from skyloom.platform import Platform
from skyloom.registry.versions import get_version
from skyloom.runtime.definitions import definition_of
from skyloom.runtime.narrow import narrowed
from skyloom.runtime.ownership import settle
from skyloom.runtime.receipts import recompute
from skyloom.runtime.state import applied
from skyloom.runtime.worker.erasure import KIND as ERASURE
from skyloom.runtime.worker.erasure import Erasure

ERASED_MS = 10 * MINUTE
"""How long an erasure may take to be carried out, in the clock of receipts."""


class Skew(msgspec.Struct, frozen=True):
    """``predictions`` and ``values`` that were compared, and every difference. ``erased`` counts values that differ and were
    served before events of theirs were asked to be forgotten: no fault. ``redacted`` predictions could not be compared:
    their receipts leave out what they were asked with."""

    predictions: int
    values: int
    differences: tuple[Difference, ...]
    erased: int = 0
    redacted: int = 0


def check_skew(platform: Platform, model: str, newest: int | None = None) -> Skew:
    """Compare every logged prediction of ``model`` (shadow copies too), or the ``newest`` ones, with the lake as of the
    same moment."""
    settle(platform, applied(platform.metadata).project)
    table = predictions_topic(model)
    rows = RECEIPTS.empty_table() if platform.lake.version(table) is None else platform.lake.read(table)
    if newest is not None:
        rows = rows.sort_by([("logged_ms", "descending")]).slice(0, newest)
    return compare(platform, model, receipts_from(rows))


def compare(platform: Platform, model: str, receipts: Sequence[Receipt]) -> Skew:
    """Compare predictions, whose events are in the lake, with what the lake gives as of the offsets that each saw.

    Raises `NotFound` when a version that answered, or its definition, is gone.
    """
    by_version: dict[int, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        by_version[receipt.version].append(receipt)
    values, predictions, differences = 0, 0, list[Difference]()
    for number, found in by_version.items():
        kept = definition_of(platform, get_version(platform.metadata, model, number))
        columns = kept.project.sources[kept.model.requests].schema.names
        served = [receipt for receipt in found if not is_redacted(receipt.request, columns)]
        if not served:
            continue
        predictions += len(served)
        names = [wanted.name for wanted in kept.model.inputs]
        values += len(names) * len(served)
        lake = narrowed(platform.lake, kept.model, kept.project, served)
        differences += _differences(names, served, recompute(platform, kept.model, kept.project, served, lake))
    forgotten = _before_erasures(platform, receipts) if differences else set[str]()
    kept_back = [each for each in differences if each.receipt not in forgotten]
    erased = len(differences) - len(kept_back)
    return Skew(predictions, values, tuple(kept_back), erased, len(receipts) - predictions)


def _before_erasures(platform: Platform, receipts: Sequence[Receipt]) -> set[str]:
    """The predictions that were served before events of their sources were erased, or while that was carried out."""
    asked = [msgspec.json.decode(document.body, type=Erasure) for document in platform.metadata.list(ERASURE)]
    return {
        receipt.id
        for receipt in receipts
        for erasure in asked
        if receipt.logged_ms < erasure.at_ms + ERASED_MS and erasure.source in {source_of(place) for place in receipt.as_of}
    }


def _differences(names: list[str], receipts: list[Receipt], again: list[tuple[Value, ...]]) -> list[Difference]:
    found: list[Difference] = []
    for receipt, row in zip(receipts, again, strict=True):
        if len(receipt.inputs) != len(names):
            found.append(Difference(receipt.id, "inputs", f"{len(receipt.inputs)} values", f"{len(names)} values"))
            continue
        for name, was, now in zip(names, receipt.inputs, row, strict=True):
            if was != now or (was is None) is not (now is None):
                found.append(Difference(receipt.id, name, was, now))
    return found
