"""Files of rows brought in: read, held against the contract, rejects set aside, the rest appended to the log."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from skyloom.ingest.contract import check_table, row_text, shown_rows
from skyloom.ingest.partitions import Appender, Span, pack_table
from skyloom.ingest.quarantine import Quarantine, Reject
from skyloom.ingest.tables import Piece, files_of, read_pieces
from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.log import Log
from skyloom.ports.metadata import Metadata

CHUNK = 65_536
"""Rows of one batch in the log."""

PIECE = 16 * CHUNK
"""Rows that are checked and appended together, in one transaction a partition: what bounds the memory."""

KIND = "import"
"""The kind of document that remembers what of a file is in."""


class Imported(msgspec.Struct, frozen=True):
    """What an import did; ``reasons`` counts the rejects by reason. The rows that it appended lie in ``spans``, one for each
    of the source's ``partitions`` that got some; ``repeated`` of them had a key that had come before: those are in
    quarantine too. ``known`` rows were left out, since the very same file was brought in before."""

    source: str
    path: str
    rows: int
    accepted: int
    rejected: int
    reasons: dict[str, int]
    partitions: int = 1
    spans: tuple[Span, ...] = ()
    repeated: int = 0
    known: int = 0


class Done(msgspec.Struct, frozen=True):
    """How much of a file is in: ``pieces`` of `PIECE` rows each, ``rows`` in all; whether that is all of it."""

    path: str
    pieces: int
    rows: int
    whole: bool


def import_file(
    source: SourceDef,
    path: Path,
    *,
    log: Log,
    metadata: Metadata,
    actor: str,
    now_ms: int,
    on_rows: Callable[[int], None] | None = None,
) -> Imported:
    """Import a file (`skyloom.ingest.tables` says of which kinds), or a folder of them.

    Nothing is appended unless all of them can be read. Files are known by their content: what was brought in before, by
    the same contract, is left out; what was brought in half, by a process that died, is gone on with. Raises `NotFound`,
    `DataError`, `Transient`.
    """
    bringing = _Bringing(source, path, log, metadata, actor, now_ms)
    files = [(file, _digest(file, source)) for file in files_of(path)]
    fresh = [(file, digest) for file, digest in files if not bringing.knows(digest)]
    rows = 0
    for file, pieces in _readable([file for file, _ in fresh], source):
        rows += bringing.take(file, dict(fresh)[file], pieces, on_rows)
    if not rows and len(fresh) == len(files):
        raise DataError(f"{path} holds no rows", fix=f"check what writes {path}")
    return bringing.imported()


class _Bringing:
    """One run over files."""

    def __init__(self, source: SourceDef, path: Path, log: Log, metadata: Metadata, actor: str, now_ms: int) -> None:
        self._source, self._path, self._now_ms = source, path, now_ms
        self._metadata, self._actor = metadata, actor
        self._events = Appender(log, source)
        self._quarantine = Quarantine(log, source.name, "files", lambda origin: origin.startswith("row "))
        self._rows = self._accepted = self._known = 0
        self._reasons: Counter[str] = Counter()

    def knows(self, digest: str) -> bool:
        """Whether all of a file is in."""
        done = self._done(digest)
        self._known += done.rows if done and done.whole else 0
        return done is not None and done.whole

    def take(self, file: Path, digest: str, pieces: Iterator[Piece], on_rows: Callable[[int], None] | None) -> int:
        """Bring in what is not in yet of a file; how many rows it has."""
        before = self._done(digest) or Done(str(file), 0, 0, whole=False)
        count = rows = 0
        for piece in pieces:
            before_it = rows
            count, rows = count + 1, rows + piece.size
            if count <= before.pieces:
                self._known += piece.size
                continue
            self._append(piece, file, before_it)
            self._remember(digest, Done(str(file), count, rows, whole=False))
            self._quarantine.done()
            if on_rows:
                on_rows(piece.size)
        if rows:
            self._remember(digest, Done(str(file), count, rows, whole=True))
        return rows

    def imported(self) -> Imported:
        """What was done, all of it."""
        self._quarantine.finish()
        return Imported(
            self._source.name,
            str(self._path),
            self._rows,
            self._accepted,
            self._rows - self._accepted,
            dict(self._reasons),
            self._events.partitions,
            self._events.spans(),
            known=self._known,
        )

    def _append(self, piece: Piece, file: Path, first: int) -> None:
        """Append the good rows, then keep the bad ones: a log that refuses rows has kept nothing of them."""
        checked = check_table(piece.rows, self._source, self._now_ms)
        portions = pack_table(checked.good, self._source, self._events.partitions, CHUNK)
        self._events.append(portions, self._now_ms, imported=True)
        texts = [row_text(row) for row in shown_rows(piece.rows, [row for row, _ in checked.rejects])]
        pairs = zip(checked.rejects, texts, strict=True)
        bad = sorted([(piece.numbers[row], reason, text) for (row, reason), text in pairs] + piece.unread)
        rejects = [Reject(reason, text, f"row {first + row + 1} of {file}") for row, reason, text in bad]
        self._quarantine.keep(rejects, self._now_ms)
        self._rows += piece.size
        self._accepted += len(checked.good)
        self._reasons.update(reason for _, reason, _ in bad)

    def _done(self, digest: str) -> Done | None:
        document = self._metadata.get(KIND, f"{self._source.name}/{digest}")
        return None if document is None else msgspec.json.decode(document.body, type=Done)

    def _remember(self, digest: str, done: Done) -> None:
        with self._metadata.transaction(self._actor) as transaction:
            body = msgspec.json.encode(done)
            transaction.put(KIND, f"{self._source.name}/{digest}", body, action="ingested a file")


def _readable(files: list[Path], source: SourceDef) -> Iterator[tuple[Path, Iterator[Piece]]]:
    """The pieces of each file, once all of them were read to their end; those of few rows are read once."""
    held: list[tuple[Path, list[Piece]]] | None = []
    rows = 0
    for file in files:
        pieces: list[Piece] = []
        for piece in read_pieces(file, source, PIECE):
            rows += piece.size
            if held is not None and rows <= PIECE:
                pieces.append(piece)
            else:
                held, pieces = None, []
        if held is not None:
            held.append((file, pieces))
    if held is not None:
        yield from ((file, iter(pieces)) for file, pieces in held)
    else:
        yield from ((file, read_pieces(file, source, PIECE)) for file in files)


def _digest(file: Path, source: SourceDef) -> str:
    """Names a file's content under the contract that it is held against."""
    with file.open("rb") as content:
        return content_id([hashlib.file_digest(content, "sha256").hexdigest(), source.schema, source.limits])
