"""What of a run is done: how it began, and its answers so far, a file for each batch."""

import fcntl
import os
import re
import shutil
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa

from skyloom.kernel.errors import Refused
from skyloom.kernel.ids import content_id
from skyloom.stores.files import complete_file, private_folder, sync_folder, writable

_BEGUN = "run.json"
_PART = re.compile(r"(\d{12})-(\d{12})\.arrow")
_MARK = b"mark"
_MOST_REASONS = 1_000
OTHERS = "other reasons"
"""What rows without a score are counted under once there are too many reasons."""


class Begun(msgspec.Struct, frozen=True):
    """What a run is bound to: the version and its definitions, the source and its content, and the ``lake``'s versions."""

    run: str
    model: str
    version: int
    package: str
    definition: str
    source: str
    identity: str
    lake: dict[str, int | None]


class Journal:
    """The answers of one run on their way into one outlet, in a folder of their own.

    A batch is in the journal once its file has its name, which tells its rows; so a killed run goes on behind the last one.
    One process writes it at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows = 0
        """How many rows are answered."""
        self.mark = ""
        """Where the source stands behind them."""
        self._parts: list[Path] = []
        if folder.exists():
            self._find()

    def begun(self) -> Begun | None:
        """How the run began, or ``None`` where none did."""
        try:
            return msgspec.json.decode((self._folder / _BEGUN).read_bytes(), type=Begun)
        except FileNotFoundError:
            return None

    def begin(self, begun: Begun) -> None:
        """Keep how a run begins, and nothing of another."""
        self.clear()
        private_folder(self._folder)
        self._write(_BEGUN, msgspec.json.encode(begun))

    def add(self, answers: pa.Table, mark: str) -> None:
        """Keep the answers to the next rows, on the disk, before it returns. Raises `Transient` for a full disk."""
        sink = pa.BufferOutputStream()
        marked = answers.schema.with_metadata({_MARK: mark.encode()})
        with pa.ipc.new_file(sink, marked, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(answers)
        end = self.rows + len(answers)
        self._parts.append(self._write(f"{self.rows:012}-{end:012}.arrow", sink.getvalue().to_pybytes()))
        self.rows, self.mark = end, mark

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All answers, in order."""
        for part in self._parts:
            with pa.memory_map(str(part)) as file, pa.ipc.open_file(file) as reader:
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number).replace_schema_metadata(None)

    def errors(self) -> dict[str, int]:
        """How many rows have no score, by reason."""
        found: Counter[str] = Counter()
        for batch in self.batches():
            for reason, count in Counter[str](batch.column("error").drop_null().to_pylist()).items():
                found[reason if reason in found or len(found) < _MOST_REASONS else OTHERS] += count
        return dict(found)

    def clear(self) -> None:
        """Forget everything, first that a run began."""
        if self._folder.exists():
            with writable(self._folder.parent):
                (self._folder / _BEGUN).unlink(missing_ok=True)
                sync_folder(self._folder)
                shutil.rmtree(self._folder)
        self.rows, self.mark, self._parts = 0, "", []

    def _find(self) -> None:
        """The files that follow one upon the other from the first row on; what else is there came from a killed process."""
        spans = {int(found[1]): path for path in self._folder.iterdir() if (found := _PART.fullmatch(path.name))}
        while self.rows in spans:
            path = spans[self.rows]
            self._parts.append(path)
            self.rows = int(path.stem.partition("-")[2])
        if self._parts:
            with pa.memory_map(str(self._parts[-1])) as file, pa.ipc.open_file(file) as reader:
                self.mark = (reader.schema.metadata or {}).get(_MARK, b"").decode()
        for path in self._folder.iterdir():
            if path.name != _BEGUN and path not in self._parts:
                path.unlink()

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        with writable(self._folder), complete_file(self._folder, content) as complete:
            os.replace(complete, path)
            sync_folder(self._folder)
        return path


@contextmanager
def journal_of(folder: Path, outlet: str, key: str) -> Generator[Journal]:
    """The journal of an outlet (``key`` tells it from all others), among those in ``folder``.

    Raises `Refused` while another process has it (the lock is the kernel's), `Transient` for a full disk.
    """
    place = folder / content_id(key)[:24]
    with writable(folder):
        private_folder(folder)
        descriptor = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"another skyloom score is at work on {outlet}", fix="wait until it is done") from error
        yield Journal(place)
    finally:
        os.close(descriptor)
