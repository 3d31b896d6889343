"""`skyloom score`: predictions for a table of requests, each as of its row's own moment."""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from skyloom.features.algebra.columns import milliseconds
from skyloom.features.offline.dataset import inputs_of
from skyloom.features.offline.history import Requests
from skyloom.ingest.requests import RequestBatch, read_requests
from skyloom.kernel.columns import ARROW_TYPES, arrow_schema
from skyloom.kernel.errors import NotFound, UsageError
from skyloom.kernel.ids import new_id
from skyloom.package import load
from skyloom.package.store import LoadedPackage
from skyloom.package.tables import score_table
from skyloom.platform import Platform
from skyloom.ports.lake import Lake
from skyloom.registry.champion import champion_of
from skyloom.registry.versions import get_version
from skyloom.runtime.definitions import Definition, definition_of
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied, model_of
from skyloom.stores.files import sync_folder, writable

BATCH = 65_536
"""Rows that are joined and scored together: what bounds the memory, beside the features' own events."""


class Scored(msgspec.Struct, frozen=True):
    """What was written; ``errors`` counts the rows without a score by reason."""

    model: str
    version: int
    rows: int
    scored: int
    errors: dict[str, int]
    path: str


class Scoring:
    """One version, ready to score requests as they would have been answered at their own moments.

    What the lake holds is read once: every batch sees the same events. Raises `NotFound` for a model or version that is
    not there.
    """

    def __init__(self, platform: Platform, model: str, version: int | None = None) -> None:
        self._platform = platform
        self.version = get_version(platform.metadata, model, _champion(platform, model) if version is None else version)
        self._kept: Definition = definition_of(platform, self.version)
        self._package: LoadedPackage = load(platform.objects, self.version.package)
        settle(platform, applied(platform.metadata).project)
        self._lake = _Remembering(platform.lake)
        self.source = self._kept.project.sources[self._kept.model.requests]

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
        return inputs_of(self._kept.model, self._kept.project, requests, self._lake, self._platform.online)

    def _scores(self, rows: pa.Table) -> Any:
        return score_table(self._package.scorer, self.inputs(rows)).astype(np.float64)

    def _answers(self, keys: pa.ChunkedArray, scores: Any, errors: Any) -> pa.Table:
        broken = errors != ""
        columns: list[Any] = [keys, pa.array(scores, pa.float64(), mask=broken)]
        if self._kept.model.task == "binary":
            columns.append(pa.array(scores >= self._package.manifest.threshold, pa.bool_(), mask=broken))
        columns.append(pa.array(errors.tolist(), pa.string(), mask=~broken))
        return pa.table(columns, self.schema)


def score_file(
    platform: Platform,
    model: str,
    source: Path,
    target: Path,
    *,
    version: int | None = None,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Scored:
    """Score the requests of ``source`` (Parquet or CSV) with the champion, or another version, into ``target``.

    The target has exactly one row for each row of the source, in the same order, and appears whole or not at all.
    Raises `NotFound`, `UsageError`, `DataError` for a source that cannot be read as a whole, `Transient` for a full disk.
    """
    if target.suffix not in _WRITERS:
        raise UsageError(f"{target} is neither Parquet nor CSV", fix="name a file that ends in .parquet or .csv")
    if target.resolve() == source.resolve():
        raise UsageError(f"{target} is the table of the requests itself", fix="name another file for the predictions")
    scoring = Scoring(platform, model_of(platform, model).name, version)
    rows, errors = 0, Counter[str]()
    with whole_file(target) as scratch, _WRITERS[target.suffix](scratch, scoring.schema) as writer:
        for batch in read_requests(source, scoring.source, BATCH):
            answers = scoring.score(batch)
            with writable(target.parent):
                writer.write_table(answers)
            rows += len(answers)
            errors.update(answers.column("error").drop_null().to_pylist())
            on_rows(len(answers))
    return Scored(model, scoring.version.number, rows, rows - errors.total(), dict(errors), str(target))


@contextmanager
def whole_file(target: Path) -> Generator[Path]:
    """A path to write to; what is there when the block ends takes the place of ``target``, on the disk and at once.

    When the block raises, ``target`` is as before and the other file is gone.
    """
    scratch = target.with_name(f".{target.stem}.{new_id('partial')}{target.suffix}")
    try:
        with writable(target.parent):
            scratch.touch(exist_ok=False)
        yield scratch
        with writable(target.parent):
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            scratch.replace(target)
            sync_folder(target.parent)
    finally:
        scratch.unlink(missing_ok=True)


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Generator[_Writer]:
    import pyarrow.parquet as pq

    with writable(path.parent):
        writer = pq.ParquetWriter(path, schema, compression="zstd")
    yield from _closing(path, writer)


@contextmanager
def _csv(path: Path, schema: pa.Schema) -> Generator[_Writer]:
    from pyarrow import csv

    with writable(path.parent):
        writer = csv.CSVWriter(path, schema)
    yield from _closing(path, writer)


def _closing(path: Path, writer: _Writer) -> Generator[_Writer]:
    try:
        yield writer
    finally:
        with writable(path.parent):
            writer.close()


_WRITERS: dict[str, Any] = {".parquet": _parquet, ".csv": _csv}


class _Remembering:
    """The tables of a lake, each as it was when the same columns of it were first read."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._tables: dict[tuple[str, tuple[str, ...] | None], pa.Table] = {}
        self._versions: dict[str, int | None] = {}
        self.append, self.overwrite, self.note, self.position = lake.append, lake.overwrite, lake.note, lake.position
        self.tables = lake.tables

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> pa.Table:
        if version is not None or where is not None:
            return self._lake.read(table, columns=columns, version=version, where=where)
        named = table, None if columns is None else tuple(columns)
        if named not in self._tables:
            self._tables[named] = self._lake.read(table, columns=columns, version=self.version(table))
        return self._tables[named]

    def scan(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        return iter(self.read(table, columns=columns, version=version, where=where).to_batches())

    def version(self, table: str) -> int | None:
        if table not in self._versions:
            self._versions[table] = self._lake.version(table)
        return self._versions[table]


def _champion(platform: Platform, model: str) -> int:
    champion = champion_of(platform.metadata, model)
    if champion is None:
        raise NotFound(f"{model} has no champion yet", fix=f"skyloom train {model}")
    return champion.version
