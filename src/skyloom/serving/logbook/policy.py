"""What is kept of the predictions of a model: which of them, and which of their columns."""

import hmac
import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.ingest.rows import Value
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.hidden import hash_name, hidden_inputs, mark_name
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.sticky import BUCKETS, bucket_of, buckets_of

REFUSE = "refuse"
_SALT = "logbook"
_LENGTH = 32


class Policy(NamedTuple):
    """``refuse``: no answer without its receipt (else receipts without room are dropped and counted). Predictions whose key
    falls into the first ``share`` of 10,000 buckets are kept. Of ``columns`` the request keeps nothing, or where
    it says true a keyed hash; ``inputs`` (place -> column) likewise (empty: nothing)."""

    model: str
    name: bytes
    refuse: bool
    share: int
    columns: dict[str, bool]
    inputs: dict[int, str]

    @property
    def keeps_all(self) -> bool:
        """Whether no prediction is left out."""
        return self.share >= BUCKETS

    def keeps(self, key: str) -> bool:
        """Whether predictions of a key are kept: the same for champion, canary and shadow, and for every process."""
        return self.share >= BUCKETS or bucket_of(_SALT, key) < self.share

    def kept(self, keys: Sequence[str]) -> NDArray[np.intp]:
        """The places of the keys whose predictions are kept, as `keeps` has them."""
        return np.flatnonzero(np.array(buckets_of(_SALT, keys), np.int64) < self.share)

    def drawn(self, count: int) -> NDArray[np.intp]:
        """The places of those kept of so many keys that nobody else has and nobody asks for again: for them any chance is as
        good as the hash of a random text."""
        chance = np.frombuffer(os.urandom(4 * count), np.uint32)
        return np.flatnonzero(chance < self.share * (1 << 32) // BUCKETS)

    def redacted(self, receipt: Receipt, secret: bytes) -> Receipt:
        """A receipt without what is not to be kept."""
        if not self.columns:
            return receipt
        request = {name: value for name, value in receipt.request.items() if name not in self.columns}
        for name, hashed in self.columns.items():
            if not hashed:
                request[mark_name(name)] = None
            elif name in receipt.request:
                request[hash_name(name)] = keyed_hash(secret, name, receipt.request[name])
        inputs = list(receipt.inputs)
        for place, column in self.inputs.items():
            inputs[place] = keyed_hash(secret, column, inputs[place]) if column else None
        return msgspec.structs.replace(receipt, request=request, inputs=tuple(inputs))


def policy_of(model: ModelDef) -> Policy:
    """The policy that a model declares."""
    declared = model.logbook
    columns = {**dict.fromkeys(declared.redact, False), **dict.fromkeys(declared.hashed, True)}
    hidden = hidden_inputs(model)
    inputs = {place: hidden[each.name] for place, each in enumerate(model.inputs) if each.name in hidden}
    share = round(declared.sample * BUCKETS)
    return Policy(model.name, model.name.encode(), declared.when_full == REFUSE, share, columns, inputs)


def keyed_hash(secret: bytes, column: str, value: Value) -> str | None:
    """What stands for a text: the same for equal texts of one column, and nothing without the secret; null for null.

    >>> keyed_hash(b"s", "email", "a@b") == keyed_hash(b"s", "email", "a@b") != keyed_hash(b"s", "name", "a@b")
    True
    """
    if value is None:
        return None
    return hmac.digest(secret, f"{column}\0{value}".encode(), "sha256").hex()[:_LENGTH]
