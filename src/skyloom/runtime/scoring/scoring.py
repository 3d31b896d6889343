"""One version of a model, ready to score requests as of their own moments."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from skyloom.features.algebra.columns import milliseconds
from skyloom.features.offline.dataset import inputs_of
from skyloom.features.offline.history import Requests
from skyloom.ingest.requests import RequestBatch
from skyloom.ingest.sink import events_topic
from skyloom.kernel.columns import ARROW_TYPES, arrow_schema
from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import content_id
from skyloom.package import load
from skyloom.package.store import LoadedPackage
from skyloom.package.tables import score_table
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.registry.versions import get_version
from skyloom.runtime.definitions import Definition, definition_of
from skyloom.runtime.ownership import settle
from skyloom.runtime.scoring.remembered import Remembered
from skyloom.runtime.state import applied

BATCH = 65_536
"""Rows that are joined and scored together where there are few events: what bounds the memory, beside the events."""

MOST = 8 * BATCH
"""Rows that are joined and scored together at most."""


class Scoring:
    """One version, ready to score requests as they would have been answered at their own moments.

    Every batch sees the same events: those of the versions of the lake's tables in ``lake``, by default of the newest.
    Raises `NotFound` for a model or version that is not there.
    """

    def __init__(
        self,
        platform: Platform,
        model: str,
        version: int | None = None,
        lake: Mapping[str, int | None] | None = None,
    ) -> None:
        self._platform = platform
        self.version = get_version(platform.metadata, model, _champion(platform, model) if version is None else version)
        self._kept: Definition = definition_of(platform, self.version)
        self._package: LoadedPackage = load(platform.objects, self.version.package)
        settle(platform, applied(platform.metadata).project)
        tables = [events_topic(name) for name in sorted(self._kept.project.sources)]
        self.lake = dict(lake) if lake is not None else {table: platform.lake.version(table) for table in tables}
        """The version of each table of the lake that is read."""
        self._remembered = Remembered(platform.lake, self.lake)
        self.source = self._kept.project.sources[self._kept.model.requests]

    @property
    def definition(self) -> str:
        """Names the definitions that the version was trained with."""
        return content_id(self._kept)

    @property
    def worth(self) -> int:
        """How many rows are worth to be joined together, since each time all events are looked through."""
        return min(max(BATCH, self._remembered.rows), MOST)

    @property
    def schema(self) -> pa.Schema:
        """The columns of an answer: ``key``, ``score``, ``label`` (of a binary model) and ``error``."""
        key = ARROW_TYPES[self.source.schema[self.source.schema.key].type]
        label = [("label", pa.bool_())] if self._kept.model.task == "binary" else []
        return pa.schema([("key", key), ("score", pa.float64()), *label, ("error", pa.string())])

    def score(self, batch: RequestBatch) -> pa.Table:
        """One row for each row of the batch, in order: a score, or the error that it has instead."""
        errors = batch.faults.copy()
        fit = errors == ""
        scores = np.full(len(errors), np.nan)
        if fit.any():
            scores[fit] = self._scores(batch.rows.filter(pa.array(fit)))
        for row in np.flatnonzero(fit & ~np.isfinite(scores)):
            errors[row] = f"the model answered {scores[row]}"
        return self._answers(batch.rows.column(self.source.schema.key), scores, errors)

    def inputs(self, rows: pa.Table) -> pa.Table:
        """``key``, ``t`` and the model's inputs for requests that keep the contract."""
        rows = rows.cast(arrow_schema(self.source.schema))
        requests = Requests(rows, milliseconds(rows.column(self.source.schema.time)), None)
        return inputs_of(self._kept.model, self._kept.project, requests, self._remembered, self._platform.online)

    def _scores(self, rows: pa.Table) -> Any:
        return score_table(self._package.scorer, self.inputs(rows)).astype(np.float64)

    def _answers(self, keys: pa.ChunkedArray, scores: Any, errors: Any) -> pa.Table:
        broken = errors != ""
        columns: list[Any] = [keys, pa.array(scores, pa.float64(), mask=broken)]
        if self._kept.model.task == "binary":
            columns.append(pa.array(scores >= self._package.manifest.threshold, pa.bool_(), mask=broken))
        columns.append(pa.array(errors.tolist(), pa.string(), mask=~broken))
        return pa.table(columns, self.schema)


def _champion(platform: Platform, model: str) -> int:
    champion = champion_of(platform.metadata, model)
    if champion is None:
        raise NotFound(f"{model} has no champion yet", fix=f"skyloom train {model}")
    return champion.version
