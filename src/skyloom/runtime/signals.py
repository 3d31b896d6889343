"""SIGTERM and SIGINT, noted."""

import signal
import threading
from types import FrameType


class Ending:
    """Whether a signal said to end. To be made by the main thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    @property
    def asked(self) -> bool:
        """Whether to end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Pause, but no longer than until a signal comes."""
        self._event.wait(seconds)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._event.set()
