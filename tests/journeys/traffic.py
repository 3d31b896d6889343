"""One client that goes on whatever happens: each order is asked about, and its delivery reported until that is taken."""

import threading
import time
from http.client import HTTPException
from typing import Any

from tests.journeys.journey import PATIENCE_S, Up, now_ms


class Traffic:
    """Asks and reports in turn, from a thread, until `stop`, or until ``up`` has ended, as when a test fails. Not
    before an event is acknowledged does the next one come.

    ``answered``: prediction ids by order, in the order of the answers; ``reported``: deliveries that were acknowledged.
    """

    def __init__(self, up: Up, name: str) -> None:
        self._up, self._name = up, name
        self.answered: dict[str, str] = {}
        self.reported: list[str] = []
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self.faults == []

    def _run(self) -> None:
        number = 0
        while self._goes_on():
            id, shop = f"{self._name}-{number}", f"shop{number % 4}"
            asked = self._send(
                "/predict/late", {"order_id": id, "placed": now_ms(), "shop": shop, "amount": 5.0 + number % 50}
            )
            if asked is not None:
                self.answered[id] = asked["id"]
            report = {"order_id": id, "delivered": now_ms(), "shop": shop, "delay": number % 7 - 2.0}
            while self._goes_on():
                if self._send("/events/deliveries", report) is not None:
                    self.reported.append(id)
                    break
            number += 1

    def _goes_on(self) -> bool:
        return not self._stop.is_set() and self._up.process.returncode is None

    def _send(self, path: str, body: object) -> Any:
        """The answer, or ``None`` when the server went away or cannot write now; any other answer is a fault."""
        try:
            status, answer = self._up.serving.post(path, body)
        except (OSError, HTTPException, ValueError):
            status, answer = 503, None
        if status in (200, 202):
            return answer
        if status != 503:
            self.faults.append(f"{path}: {status} {answer}")
        time.sleep(0.05)  # as a client does that is told to come again
        return None
