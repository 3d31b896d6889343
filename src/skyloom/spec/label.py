"""Labels: the outcome of a request, known later."""

import msgspec

from skyloom.kernel.expr import Term
from skyloom.kernel.units import parse_duration
from skyloom.spec.source import Source


class Label(msgspec.Struct, frozen=True, eq=False):
    """The outcome of a request: ``value`` over the event of ``source`` whose column ``on`` equals the request's key.

    An event that comes later than ``within`` after the request's time is no outcome of it: such a request stays
    unlabelled, which never means "no". Raises `DeclarationError` when ``within`` is no duration.

    >>> import skyloom as sky
    >>> class Renewal(sky.Event):
    ...     contract: str = sky.key()
    ...     at: sky.Timestamp = sky.time()
    ...     paid: float
    >>> renewals = sky.Source(Renewal)
    >>> sky.Label(renewals, on="contract", value=sky.col("paid") > 0, within="30d").within
    '30d'
    """

    source: Source
    on: str
    value: Term
    within: str

    def __post_init__(self) -> None:
        parse_duration(self.within)
