"""`skyloom receipt` and `skyloom replay`: what a prediction was made of, and the same number again."""

import msgspec

from skyloom.features.offline.dataset import inputs_of, served
from skyloom.ingest.receipts import receipts_from
from skyloom.ingest.rows import Value
from skyloom.kernel.errors import NotFound, Refused
from skyloom.kernel.records.definitions import ModelDef, ProjectDef
from skyloom.kernel.records.prediction import Receipt, predictions_topic
from skyloom.kernel.records.registry import DataVersion, Run, Version
from skyloom.package import load
from skyloom.platform import Platform
from skyloom.ports.lake import Lake
from skyloom.registry.runs import get_run
from skyloom.registry.versions import get_version
from skyloom.runtime.definitions import definition_of
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied


class Provenance(msgspec.Struct, frozen=True):
    """Prediction -> receipt -> version -> run -> data version -> commit; ``inputs`` by name."""

    receipt: Receipt
    inputs: dict[str, Value]
    version: Version
    run: Run
    data: DataVersion | None
    commit: str | None


class Replay(msgspec.Struct, frozen=True):
    """A prediction made again. ``features_equal``: the features recomputed from the lake are those that were served;
    ``score_equal``: the package, asked again, gave the same bits."""

    id: str
    served: float | None
    replayed: float | None
    features_equal: bool
    score_equal: bool
    differences: dict[str, tuple[Value, Value]]


def find_receipt(platform: Platform, id: str) -> Receipt:
    """The receipt of a prediction. Raises `NotFound`."""
    project = applied(platform.metadata).project
    for refreshed in (False, True):
        if refreshed:
            settle(platform, project)
        for name in project.models:
            table = predictions_topic(name)
            if platform.lake.version(table) is not None:
                found = platform.lake.read(table, where=[("id", "=", id)])
                if len(found):
                    return receipts_from(found)[0]
    raise NotFound(
        f"no receipt has the id {id!r}",
        tried=", ".join(predictions_topic(name) for name in project.models),
        fix="copy the id from the answer to a prediction; a receipt arrives within a second of it, unless the model samples",
    )


def provenance(platform: Platform, id: str) -> Provenance:
    """Everything that a prediction was made of. Raises `NotFound`."""
    receipt = find_receipt(platform, id)
    version = get_version(platform.metadata, receipt.model, receipt.version)
    run = get_run(platform.metadata, version.run)
    model = definition_of(platform, version).model
    names = [wanted.name for wanted in model.inputs]
    return Provenance(receipt, dict(zip(names, receipt.inputs, strict=True)), version, run, run.data, run.commit)


def replay(platform: Platform, id: str) -> Replay:
    """Compute a prediction again: its features from the lake, its score from the package, each compared with ``==``.

    Raises `Refused` for a receipt that leaves out columns of its request.
    """
    receipt = find_receipt(platform, id)
    version = get_version(platform.metadata, receipt.model, receipt.version)
    definition = definition_of(platform, version)
    source = definition.project.sources[definition.model.requests]
    left_out = [column for column in source.schema.names if column not in receipt.request]
    if left_out:
        raise Refused(
            f"{id} cannot be computed again: its receipt does not keep {', '.join(left_out)}",
            tried=f"the receipt of {receipt.model} v{receipt.version}",
            fix="replay a prediction from before the model's sky.Logbook left these columns out, or keep them",
        )
    again = recompute(platform, definition.model, definition.project, [receipt])[0]
    names = [wanted.name for wanted in definition.model.inputs]
    differences = {
        name: (was, now)
        for name, was, now in zip(names, receipt.inputs, again, strict=True)
        if was != now or type(was) is not type(now)
    }
    score = load(platform.objects, version.package).scorer.score_row(again)
    return Replay(id, receipt.score, score, not differences, score == receipt.score, differences)


def recompute(
    platform: Platform, model: ModelDef, project: ProjectDef, receipts: list[Receipt], lake: Lake | None = None
) -> list[tuple[Value, ...]]:
    """The inputs of served requests, computed from the lake (the platform's) as of the offsets that each saw."""
    from skyloom.ingest.receipts import receipts_table

    source = project.sources[model.requests]
    requests = served(receipts_table(receipts), source)
    table = inputs_of(model, project, requests, lake or platform.lake, platform.online)
    columns = [table.column(wanted.name).to_pylist() for wanted in model.inputs]
    return list(zip(*columns, strict=True))
