"""Spans on their way to a collector: by a thread, in bounded numbers, and nobody waits for it."""

import logging
import queue
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from skyloom.kernel.errors import MissingExtra
from skyloom.serving.metrics import Metrics
from skyloom.serving.traces.underway import Recording

if TYPE_CHECKING:
    from skyloom.serving.traces.otlp import Collector

_log = logging.getLogger("skyloom.serving")

MODULES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
WAITING = 2_048
"""How many traces wait for the collector at most."""
_GATHER_S = 0.5
_AT_ONCE = 128


class Exporter:
    """Sends traces to a collector by OTLP over HTTP. Safe for threads.

    What finds the queue full, and what the collector has not taken after some tries, is dropped and counted. Raises
    `MissingExtra`.
    """

    def __init__(self, url: str, metrics: Metrics, waiting: int = WAITING) -> None:
        for module in MODULES:
            if not _is_there(module):
                raise MissingExtra(module, "otel")
        self._url, self._metrics = url, metrics
        self._queue: queue.Queue[Recording | None] = queue.Queue(waiting)
        self._ending = threading.Event()
        self._failing = False
        self._collector: Collector | None = None
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def offer(self, recording: Recording) -> None:
        """Send a trace when there is time."""
        try:
            self._queue.put_nowait(recording)
        except queue.Full:
            self._metrics.spans_dropped.labels("queue").inc(recording.count)

    def close(self, within_s: float) -> None:
        """Send what is there and end; what the collector does not take within the time is lost."""
        self._ending.set()
        with suppress(queue.Full):  # then it is not waiting for a trace
            self._queue.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(within_s)
        if self._collector is not None:
            self._collector.close()

    def _run(self) -> None:
        while not (self._ending.is_set() and self._queue.empty()):
            gathered = self._gathered()
            if gathered:
                self._send(gathered)

    def _gathered(self) -> list[Recording]:
        """The first trace and those that come shortly after it."""
        gathered = [self._queue.get()]
        until = time.monotonic() + _GATHER_S
        while len(gathered) < _AT_ONCE:
            left_s = 0.0 if self._ending.is_set() else until - time.monotonic()
            try:
                gathered.append(self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait())
            except queue.Empty:
                break
        return [each for each in gathered if each is not None]

    def _send(self, gathered: list[Recording]) -> None:
        count = sum(each.count for each in gathered)
        try:
            collector = self._collector or self._connected()
            why = collector.send(gathered)
        except Exception as error:  # noqa: BLE001  # the edge of this thread: later traces are to be sent
            why = f"{type(error).__name__}: {error}"
        if why is None:
            self._metrics.spans_exported.inc(count)
        else:
            self._metrics.spans_dropped.labels("collector").inc(count)
            if not self._failing:
                _log.warning("%s takes no spans, and they are dropped: %s", self._url, why)
        self._failing = why is not None

    def _connected(self) -> "Collector":
        from skyloom.serving.traces.otlp import Collector  # it takes a moment to load, so this thread does it

        self._collector = Collector(self._url)
        return self._collector


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
