"""Receipts into the log, as the logbook of serving writes them."""

from collections.abc import Sequence

import msgspec

from skyloom.kernel.records.prediction import Receipt, predictions_topic
from skyloom.platform import Platform
from skyloom.ports.log import NewBatch


def log_receipts(platform: Platform, model: str, receipts: Sequence[Receipt]) -> None:
    """Append receipts of a model as one batch."""
    batch = NewBatch(len(receipts), platform.clock.now_ms(), False, msgspec.msgpack.encode(receipts))
    platform.log.append(predictions_topic(model), [batch])
