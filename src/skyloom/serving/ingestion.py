"""Events on their way into the log: what comes at the same time is appended together."""

import asyncio
from concurrent.futures import Executor

from skyloom.ingest.gateway import Accepted, Judge, take_many
from skyloom.kernel.clock import Clock
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports import Log
from skyloom.serving.metrics import Metrics

_Waiting = tuple[Judge, "asyncio.Future[Accepted]"]


class Ingestion:
    """Takes rows of events; what it answered is on the disk. Requests for one source that come while another is written
    wait and are written together, with one durable append. To be used from one event loop."""

    def __init__(self, log: Log, clock: Clock, metrics: Metrics, executor: Executor) -> None:
        self._log, self._clock, self._metrics, self._executor = log, clock, metrics, executor
        self._waiting: dict[int, list[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, source: SourceDef, rows: Judge) -> Accepted:
        """Rows that wait to be judged; what became of each. Raises `Transient` when nothing can be written now, and
        `DataError` for a body that is no rows."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(id(source))  # a source of another release may be another one
        if waiting is None:
            self._waiting[id(source)] = [(rows, future)]
            task = asyncio.create_task(self._write(source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            waiting.append((rows, future))
        accepted = await future
        self._metrics.events.labels(source.name, "accepted").inc(accepted.accepted)
        if accepted.rejected:
            self._metrics.events.labels(source.name, "rejected").inc(len(accepted.rejected))
        return accepted

    async def _write(self, source: SourceDef) -> None:
        """Write what waits for ``source`` until nothing does."""
        loop = asyncio.get_running_loop()
        while batch := self._waiting[id(source)]:
            self._waiting[id(source)] = []
            rows = [rows for rows, _ in batch]
            try:
                done = await loop.run_in_executor(self._executor, take_many, self._log, source, rows, self._clock.now_ms())
            except Exception as error:  # noqa: BLE001  # nobody else would hear of it: each who waits gets it
                for _, future in batch:
                    _tell(future, error)
            else:
                for (_, future), accepted in zip(batch, done, strict=True):
                    _tell(future, accepted)
        del self._waiting[id(source)]


def _tell(future: "asyncio.Future[Accepted]", done: Accepted | Exception) -> None:
    """Give who waits the answer; who was cancelled meanwhile does not hold up the others."""
    if future.done():
        return
    if isinstance(done, Exception):
        future.set_exception(done)
    else:
        future.set_result(done)
