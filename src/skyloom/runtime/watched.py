"""Where the watch over served values stands: read without what the comparing itself takes."""

import msgspec

from skyloom.kernel.records.prediction import predictions_topic
from skyloom.platform import Platform
from skyloom.runtime.state import applied

WATCHER = "consistency"


class Watched(msgspec.Struct, frozen=True):
    """What the watch over one model has done so far: ``position`` is the offset of the log up to which it went.

    ``predictions`` and ``values`` were compared, ``unequal`` values differed, ``passed`` predictions were left out of
    samples or have receipts without all that they were asked with, ``failed`` ones could not be computed again. ``at_ms`` is
    the moment of the last comparison.
    """

    model: str
    position: int = 0
    predictions: int = 0
    values: int = 0
    unequal: int = 0
    passed: int = 0
    failed: int = 0
    at_ms: int | None = None


def watched(platform: Platform, model: str) -> Watched:
    """What the watch over a model has done so far."""
    try:
        return msgspec.json.decode((platform.state / WATCHER / f"{model}.json").read_bytes(), type=Watched)
    except (FileNotFoundError, msgspec.DecodeError):
        return Watched(model)


def unwatched(platform: Platform) -> bool:
    """Whether any model has predictions in the log that the watch has not seen."""
    models = applied(platform.metadata).project.models
    return any(platform.log.read(predictions_topic(name), watched(platform, name).position, 1) for name in models)
