"""`skyloom score`: predictions for a table of requests, each as of its row's own moment, once for each row."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

import msgspec

from skyloom.ingest.requests import RequestBatch, gathered
from skyloom.kernel.errors import Refused
from skyloom.kernel.ids import new_id
from skyloom.platform import Platform
from skyloom.ports.outlet import Finished, Outlet
from skyloom.runtime.scoring import scoring as scorings
from skyloom.runtime.scoring.journal import Begun, Journal, journal_of
from skyloom.runtime.scoring.places import From, apart, source_of, target_of
from skyloom.runtime.scoring.scoring import Scoring
from skyloom.runtime.state import model_of

FOLDER = "scoring"


class Scored(msgspec.Struct, frozen=True):
    """What was written; ``errors`` counts the rows without a score by reason, ``known`` the rows of ``rows`` that an earlier
    process had scored before it ended."""

    model: str
    version: int
    rows: int
    scored: int
    errors: dict[str, int]
    path: str
    known: int = 0


class Run:
    """A run that has begun, or that goes on: ``known`` of about ``expected`` rows are scored (0: nobody knows how many)."""

    def __init__(self, begun: Begun, journal: Journal, source: From, scoring: Scoring, outlet: Outlet) -> None:
        self.begun, self._journal, self._source, self._scoring, self._outlet = begun, journal, source, scoring, outlet
        self.known = journal.rows
        self.expected = source.requests.count()

    def finish(self, on_rows: Callable[[int], None] = lambda count: None) -> Scored:
        """Score what is left, and put the whole where it is wanted."""
        for batch in gathered(self._batches(), lambda: self._scoring.worth):
            self._journal.add(self._scoring.score(batch), batch.mark)
            on_rows(len(batch.rows))
        rows, begun = self._journal.rows, self.begun
        notes = {"model": begun.model, "version": str(begun.version), "run": begun.run}
        self._outlet.put(Finished(begun.run, self._scoring.schema, rows, notes, self._journal.batches))
        errors = self._journal.errors()
        self._journal.clear()
        without = sum(errors.values())
        return Scored(begun.model, begun.version, rows, rows - without, errors, self._outlet.name, self.known)

    def _batches(self) -> Iterator[RequestBatch]:
        return self._source.requests.read(self._scoring.source, scorings.BATCH, self._journal.rows, self._journal.mark)


@contextmanager
def running(
    platform: Platform, model: str, source: str, target: str, *, version: int | None = None, restart: bool = False
) -> Generator[Run]:
    """A run from ``source`` into ``target`` by the champion, or by another version.

    The same call goes on where a process that ended in the middle stood: with the version, the definitions and the events
    that it began with, whatever was promoted or came in since. Raises `Refused` where the target is half made of something
    else (unless ``restart``) or must not be replaced, `NotFound`, `UsageError`, `DataError` for a source that cannot be read
    as a whole or has changed, `Transient` for a full disk.
    """
    name, to = model_of(platform, model).name, target_of(target, platform.directory)
    came = source_of(source, platform.directory)
    with closing(came.requests), journal_of(platform.state / FOLDER, to.outlet.name, to.key) as journal:
        apart(came, to)
        if restart:
            journal.clear()
        begun = journal.begun()
        try:
            if begun is None:
                begun, scoring = _anew(platform, name, came, to.outlet, version)
                journal.begin(begun)
            else:
                scoring = _again(platform, name, came, begun, version, journal.rows)
            yield Run(begun, journal, came, scoring, to.outlet)
        finally:
            if not journal.rows:
                journal.clear()  # there is nothing to go on with


def score(
    platform: Platform,
    model: str,
    source: str,
    target: str,
    *,
    version: int | None = None,
    restart: bool = False,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Scored:
    """Score all rows of ``source`` into ``target``, which has one row for each, in the same order, whole or not at all.

    Raises as `running`.
    """
    with running(platform, model, source, target, version=version, restart=restart) as run:
        return run.finish(on_rows)


def _anew(platform: Platform, model: str, source: From, outlet: Outlet, version: int | None) -> tuple[Begun, Scoring]:
    scoring = Scoring(platform, model, version)
    outlet.check(scoring.schema)
    identity = source.requests.bind()
    number, package = scoring.version.number, scoring.version.package
    run = Begun(new_id("score"), model, number, package, scoring.definition, source.key, identity, scoring.lake)
    return run, scoring


def _again(platform: Platform, model: str, source: From, begun: Begun, version: int | None, rows: int) -> Scoring:
    wanted = version or begun.version
    if (model, source.key, wanted) != (begun.model, begun.source, begun.version):
        raise Refused(
            f"{rows:,} rows are scored already, from {begun.source} by {begun.model} v{begun.version}",
            tried=f"from {source.key} by {model} v{wanted}",
            fix="ask for the same again to go on, or add --restart to begin anew",
        )
    source.requests.bind(begun.identity)
    scoring = Scoring(platform, model, begun.version, begun.lake)
    if (scoring.version.package, scoring.definition) != (begun.package, begun.definition):
        raise Refused(
            f"{model} v{begun.version} is not what it was when {rows:,} rows were scored by it",
            tried="its package and its definitions",
            fix="add --restart to begin anew",
        )
    return scoring
