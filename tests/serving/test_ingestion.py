"""Events that come at the same time: one who gives up does not hold up the others."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from serving_world import LANDINGS

from skyloom.ingest.gateway import Accepted, Judged
from skyloom.kernel.clock import SystemClock
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.serving.ingestion import Ingestion
from skyloom.serving.metrics import Metrics


class Untouched:
    """A log that nothing is written to."""

    def partitions(self, topic: str) -> int:
        return 1


def refused(source: SourceDef, now_ms: int, partitions: int) -> Judged:
    raise DataError("no rows")


def test_who_gives_up_holds_up_nobody() -> None:
    begun, go = Event(), Event()

    def nothing(source: SourceDef, now_ms: int, partitions: int) -> Judged:
        begun.set()
        go.wait(60)
        return Judged(0, [], [])

    async def story(executor: Any) -> Accepted:
        log: Any = Untouched()
        ingestion = Ingestion(log, SystemClock(), Metrics(), executor)
        patient = [asyncio.create_task(ingestion.take(LANDINGS, judge)) for judge in (nothing, refused, nothing)]
        await asyncio.to_thread(begun.wait, 60)
        patient[0].cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(DataError):
            await patient[1]
        await patient[2]
        return await ingestion.take(LANDINGS, nothing)

    with ThreadPoolExecutor(1) as executor:
        assert asyncio.run(asyncio.wait_for(story(executor), 60)) == Accepted(0, (), None)
