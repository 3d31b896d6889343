"""The label join: receipts and labels, in whatever order they come, become outcomes.

State lies in the online store: ``join/<model>/pending`` (label key -> predictions that wait), ``join/<model>/labels``
(label key -> the first label), ``join/<model>/expiry`` (moment, key -> which of the two ends then) and
``join/<model>/counts``. What comes out is ``outcomes/<model>``: an eight-byte sequence number -> an `Outcome`. Whoever
calls writes their positions in the same transaction, so that after a crash nothing is joined twice.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from skyloom.features.spaces import POSITIONS, pack, position, unpack
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.prediction import Outcome, Receipt
from skyloom.ports.online import OnlineReader, OnlineWriter

SWEEP = 10_000
_LONGEST_KEY = 400
_COUNTS = b"counts"


class JoinCounts(msgspec.Struct, frozen=True):
    """Since the beginning: predictions (shadows too), those with a label, those whose bound passed without one; labels that
    came too late for a prediction, and labels after the first of their key."""

    served: int = 0
    labelled: int = 0
    expired: int = 0
    late: int = 0
    repeated: int = 0

    @property
    def coverage(self) -> float | None:
        """The share of predictions with a label among those whose time for one is over or that have one."""
        known = self.labelled + self.expired
        return self.labelled / known if known else None


class _Label(msgspec.Struct, frozen=True, array_like=True):
    value: float
    at_ms: int


_OUTCOMES = msgspec.msgpack.Decoder(Outcome)
_WAITING = msgspec.msgpack.Decoder(list[Outcome])
_LABEL = msgspec.msgpack.Decoder(_Label)
_COUNTED = msgspec.msgpack.Decoder(JoinCounts)


def join_predictions(writer: OnlineWriter, model: ModelDef, receipts: Iterable[Receipt]) -> JoinCounts:
    """Add predictions: each is an outcome now, and another with its label, now or when the label comes.

    ``Receipt.key`` is the label's key. Returns what was counted in this call.
    """
    line = _Line(writer, model)
    for receipt in receipts:
        outcome = _served(receipt)
        line.emit(outcome)
        line.count(served=1)
        key = _stored_key(receipt.key)
        label = line.label(key)
        if label is None:
            line.wait(key, outcome)
        else:
            line.settle(outcome, label)
    return line.close()


def join_labels(writer: OnlineWriter, model: ModelDef, rows: Iterable[tuple[str, float, int]]) -> JoinCounts:
    """Add labels ``(key, value, time in ms)``. The first of a key counts, for every prediction of that key whose moment
    is at most ``within_ms`` before it. Returns what was counted in this call."""
    line = _Line(writer, model)
    for text, value, at_ms in rows:
        key = _stored_key(text)
        if line.label(key) is not None:
            line.count(repeated=1)
            continue
        label = _Label(float(value), at_ms)
        line.keep_label(key, label)
        for outcome in line.take_waiting(key):
            line.settle(outcome, label)
    return line.close()


def sweep_expired(writer: OnlineWriter, model: ModelDef, now_ms: int, most: int = SWEEP) -> JoinCounts:
    """Forget at most ``most`` predictions and labels whose bound has passed at ``now_ms``; predictions among them are
    counted as expired."""
    line = _Line(writer, model)
    due: list[bytes] = []
    for entry, _ in writer.scan(line.expiry):
        if len(due) == most or unpack(entry[:8]) >= now_ms:
            break
        due.append(entry)
    for entry in due:
        line.expire(entry, now_ms)
    return line.close()


def read_counts(view: OnlineReader | OnlineWriter, model: str) -> JoinCounts:
    """What was counted since the beginning."""
    stored = view.get(f"join/{model}/counts", _COUNTS)
    return JoinCounts() if stored is None else _COUNTED.decode(stored)


def read_outcomes(view: OnlineReader | OnlineWriter, model: str, start: int, most: int = 10_000) -> list[Outcome]:
    """At most ``most`` outcomes of a model, from number ``start`` on."""
    found: list[Outcome] = []
    for _, stored in view.scan(_outcomes_space(model), start=pack(start)):
        found.append(_OUTCOMES.decode(stored))
        if len(found) == most:
            break
    return found


def outcomes_end(view: OnlineReader | OnlineWriter, model: str) -> int:
    """The number that the next outcome of a model will take."""
    return read_position(view, _outcomes_space(model))


def read_position(view: OnlineReader | OnlineWriter, name: str) -> int:
    """How far ``name`` has been worked on; 0 when it never was."""
    return position(view, name.encode()) or 0


def write_position(writer: OnlineWriter, name: str, at: int) -> None:
    """Note, in the transaction of the work itself, how far ``name`` has been worked on."""
    writer.put(POSITIONS, name.encode(), pack(at))


class _Line:
    """The join of one model within one transaction."""

    def __init__(self, writer: OnlineWriter, model: ModelDef) -> None:
        self._writer, self._model = writer, model.name
        self._within_ms = model.label.within_ms
        self._pending, self._labels = f"join/{model.name}/pending", f"join/{model.name}/labels"
        self.expiry = f"join/{model.name}/expiry"
        self._begin = self._next = outcomes_end(writer, model.name)
        self._counts = dict.fromkeys(JoinCounts.__struct_fields__, 0)

    def emit(self, outcome: Outcome) -> None:
        self._writer.put(_outcomes_space(self._model), pack(self._next), msgspec.msgpack.encode(outcome))
        self._next += 1

    def count(self, **more: int) -> None:
        for name, number in more.items():
            self._counts[name] += number

    def label(self, key: bytes) -> _Label | None:
        stored = self._writer.get(self._labels, key)
        return None if stored is None else _LABEL.decode(stored)

    def keep_label(self, key: bytes, label: _Label) -> None:
        self._writer.put(self._labels, key, msgspec.msgpack.encode(label))
        self._end_at(label.at_ms + self._within_ms, key)

    def wait(self, key: bytes, outcome: Outcome) -> None:
        waiting = [*self._waiting(key), outcome]
        self._writer.put(self._pending, key, msgspec.msgpack.encode(waiting))
        self._end_at(outcome.at_ms + self._within_ms, key)

    def take_waiting(self, key: bytes) -> list[Outcome]:
        waiting = self._waiting(key)
        if waiting:
            self._writer.delete(self._pending, key)
        return waiting

    def settle(self, outcome: Outcome, label: _Label) -> None:
        """The prediction's label has come: an outcome, unless it came too late."""
        if label.at_ms - outcome.at_ms > self._within_ms:
            self.count(late=1, expired=1)
            return
        self.emit(msgspec.structs.replace(outcome, kind="labelled", label=label.value, labelled_ms=label.at_ms))
        self.count(labelled=1)

    def expire(self, entry: bytes, now_ms: int) -> None:
        key = entry[8:]
        self._writer.delete(self.expiry, entry)
        label = self.label(key)
        if label is not None and label.at_ms + self._within_ms < now_ms:
            self._writer.delete(self._labels, key)
        waiting = self.take_waiting(key)
        kept = [outcome for outcome in waiting if outcome.at_ms + self._within_ms >= now_ms]
        if kept:
            self._writer.put(self._pending, key, msgspec.msgpack.encode(kept))
        self.count(expired=len(waiting) - len(kept))

    def close(self) -> JoinCounts:
        """Write down where the outcomes end and what was counted."""
        counted = JoinCounts(**self._counts)
        if self._next != self._begin:
            write_position(self._writer, _outcomes_space(self._model), self._next)
        if counted != JoinCounts():
            total = _sum(read_counts(self._writer, self._model), counted)
            self._writer.put(f"join/{self._model}/counts", _COUNTS, msgspec.msgpack.encode(total))
        return counted

    def _waiting(self, key: bytes) -> list[Outcome]:
        stored = self._writer.get(self._pending, key)
        return [] if stored is None else _WAITING.decode(stored)

    def _end_at(self, moment_ms: int, key: bytes) -> None:
        self._writer.put(self.expiry, pack(max(0, moment_ms)) + key, b"1")


def _served(receipt: Receipt) -> Outcome:
    return Outcome(
        kind="served",
        receipt=receipt.id,
        model=receipt.model,
        version=receipt.version,
        arm=receipt.arm,
        unit=receipt.unit,
        at_ms=receipt.at_ms,
        score=receipt.score,
        latency_ms=receipt.latency_ms,
        error=receipt.error,
        release=receipt.release,
    )


def _outcomes_space(model: str) -> str:
    return f"outcomes/{model}"


def _stored_key(key: str) -> bytes:
    """A key of at most 401 bytes, never empty: itself, or its SHA-256 when it is too long for the store."""
    raw = key.encode()
    return b"=" + raw if len(raw) <= _LONGEST_KEY else b"#" + sha256(raw).digest()


def _sum(one: JoinCounts, other: JoinCounts) -> JoinCounts:
    return JoinCounts(*(a + b for a, b in zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)))
