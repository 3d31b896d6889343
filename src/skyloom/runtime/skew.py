"""Zero skew, proved on what was served: every prediction's features computed again from the lake, compared with ``==``."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from skyloom.ingest.receipts import RECEIPTS, predictions_topic, receipts_from
from skyloom.ingest.rows import Value
from skyloom.kernel.records.prediction import Receipt
from skyloom.monitoring.incidents import Difference
from skyloom.platform import Platform
from skyloom.registry.versions import get_version
from skyloom.runtime.definitions import definition_of
from skyloom.runtime.narrow import narrowed
from skyloom.runtime.ownership import settle
from skyloom.runtime.receipts import recompute
from skyloom.runtime.state import applied


class Skew(msgspec.Struct, frozen=True):
    """``predictions`` and ``values`` that were compared, and every difference."""

    predictions: int
    values: int
    differences: tuple[Difference, ...]


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
    values, differences = 0, list[Difference]()
    for number, served in by_version.items():
        kept = definition_of(platform, get_version(platform.metadata, model, number))
        names = [wanted.name for wanted in kept.model.inputs]
        values += len(names) * len(served)
        lake = narrowed(platform.lake, kept.model, kept.project, served)
        differences += _differences(names, served, recompute(platform, kept.model, kept.project, served, lake))
    return Skew(len(receipts), values, tuple(differences))


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
