"""Tiles that another version of the kernel packed are refused, wherever they are met."""

from typing import Any

import numpy as np
import pytest
from tests.features.histories import EVERY_KIND, ORIGIN, SOURCE, log_batch
from tests.features.memory import MemoryOnline
from tests.features.oracle import Happened

from skyloom.features.online.fold import SourceFold
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import tiles_space
from skyloom.ingest.codec import decode
from skyloom.kernel.entity import entity_key
from skyloom.kernel.errors import DataError


def landing(offset: int) -> Any:
    row = {"id": f"k{offset}", "at": ORIGIN, "who": "UA", "desk": 7, "x": 1.5, "n": 1, "ok": True}
    return decode([log_batch([Happened(offset, ORIGIN, False, ORIGIN, row)])], SOURCE.schema)


@pytest.mark.parametrize("word", [0, 1, 2])
def test_tiles_of_another_layout_are_neither_served_nor_folded_into(word: int) -> None:
    store = MemoryOnline()
    with store.write() as writer:
        SourceFold(SOURCE, [EVERY_KIND]).fold(writer, landing(0), 1, ORIGIN)
    space, key = tiles_space(EVERY_KIND), entity_key(7)
    with store.write() as writer:
        blob = np.frombuffer(writer.get(space, key) or b"", np.int64).copy()
        blob[word] += 1
        writer.put(space, key, blob.tobytes())
    with pytest.raises(DataError, match="another layout than version 2") as served:
        OnlineFeatures(store, {"every_kind": EVERY_KIND}).read([("every_kind", (7,))], ORIGIN)
    assert "backfill" in served.value.fix
    with pytest.raises(DataError, match="another layout than version 2"), store.write() as writer:
        SourceFold(SOURCE, [EVERY_KIND]).fold(writer, landing(1), 2, ORIGIN)
