"""When a child that died is started again: a decision without I/O."""

import msgspec

QUICK_S = 10.0
FAILING_AFTER = 5
LONGEST_DELAY_S = 5.0
_FIRST_DELAY_S = 0.25


class Restarts(msgspec.Struct, frozen=True):
    """How often a child has died in a row within ten seconds of its start.

    The first time it is started again at once, then after a delay that doubles; from the fifth time on it counts as
    failing, and is tried every five seconds.

    >>> deaths = Restarts()
    >>> for _ in range(6):
    ...     deaths = deaths.after_death(lived_s=1.0)
    ...     print(deaths.delay_s, deaths.failing)
    0.0 False
    0.25 False
    0.5 False
    1.0 False
    5.0 True
    5.0 True
    """

    quick_deaths: int = 0

    def after_death(self, lived_s: float) -> "Restarts":
        """The state after one more death; a life of ten seconds or more forgives the deaths before it."""
        return Restarts(self.quick_deaths + 1 if lived_s < QUICK_S else 1)

    @property
    def failing(self) -> bool:
        """Whether it is time to tell somebody."""
        return self.quick_deaths >= FAILING_AFTER

    @property
    def delay_s(self) -> float:
        """Seconds to wait before the next start."""
        if self.failing:
            return LONGEST_DELAY_S
        return 0.0 if self.quick_deaths < 2 else _FIRST_DELAY_S * 2 ** (self.quick_deaths - 2)
