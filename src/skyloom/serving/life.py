"""How far a serving process is in its life."""

from skyloom.serving.loaded import LoadedRelease


class Life:
    """``ending`` is set once, when the process was asked to end; ``in_flight`` counts requests being answered."""

    def __init__(self) -> None:
        self.ending = False
        self.in_flight = 0

    def not_ready(self, loaded: LoadedRelease | None) -> str:
        """Why this process should get no more requests; empty when it should."""
        if self.ending:
            return "this process is ending"
        return "" if loaded is not None else "nothing has been released to this server yet"
