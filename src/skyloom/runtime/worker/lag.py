"""How far stream work is behind."""

import msgspec


class Lag(msgspec.Struct, frozen=True):
    """How far a topic is behind: rows not yet folded or joined, rows not yet in the lake; and how many of its rows came too
    late for everything and are dead letters."""

    unfolded: int
    unsunk: int
    dead: int = 0
