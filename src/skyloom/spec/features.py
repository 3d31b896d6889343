"""Features: values of an entity at a moment, declared once, computed the same in batch, stream and serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Term, looked_up
from skyloom.kernel.ids import nearest
from skyloom.kernel.units import parse_duration
from skyloom.spec.aggregate import Aggregate
from skyloom.spec.source import Columns, Source
from skyloom.spec.table import entity_columns, require_keys


@dataclass(frozen=True, eq=False, init=False)
class Features:
    """Windowed aggregates of the events of ``source``, for each entity: a value of its column ``by``, or of several
    columns together, such as ``by=("carrier", "dest")``. An event that lacks one of them belongs to no entity.

    Events that come later than ``lateness`` after their time are still counted for as long as a window holds them, plus
    that bound. The group's name is the variable that holds it; a feature's name in X is ``{group}_{aggregate}_{window}``,
    with the entry of a list or the percent of one of several quantiles after the aggregate.
    Raises `DeclarationError` when nothing is aggregated, when ``by`` names no column or one twice, and when ``lateness`` is
    no duration.

    >>> import skyloom as sky
    >>> class Visit(sky.Event):
    ...     id: str = sky.key()
    ...     at: sky.Timestamp = sky.time()
    ...     page: str
    >>> visits = sky.Source(Visit)
    >>> list(sky.Features(visits, by="page", visits=sky.count(over=["1h"])).aggregates)
    ['visits']
    >>> sky.Features(visits, by=("page", "id"), visits=sky.count(over=["1h"])).by
    ('page', 'id')
    """

    source: Source
    by: tuple[str, ...]
    lateness: str
    aggregates: dict[str, Aggregate]

    def __init__(self, source: Source, *, by: str | Sequence[str], lateness: str = "1d", **aggregates: Aggregate) -> None:
        columns = entity_columns(by)
        if not aggregates:
            raise DeclarationError(
                f"features by {by!r} aggregate nothing", fix='add one, such as visits=sky.count(over=["1h"])'
            )
        for name, aggregate in aggregates.items():
            if not isinstance(aggregate, Aggregate):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DeclarationError(
                    f"{name}={aggregate!r} is no aggregate", fix="write sky.count, sky.mean, sky.last or another"
                )
        parse_duration(lateness)
        for name, value in (("source", source), ("by", columns), ("lateness", lateness), ("aggregates", aggregates)):
            object.__setattr__(self, name, value)

    def __getitem__(self, name: str) -> Term:
        """One windowed feature, by its name as `Aggregate.names` gives it, to be a feature of a model by itself or within an
        expression.

        Raises `DeclarationError` (with the nearest names) when there is none of that name.

        >>> import skyloom as sky
        >>> class Payment(sky.Event):
        ...     id: str = sky.key()
        ...     at: sky.Timestamp = sky.time()
        ...     card: str
        >>> cards = sky.Features(sky.Source(Payment), by="card", n=sky.count(over=["1h", "7d"]))
        >>> (cards["n_1h"] / cards["n_7d"]).named("burst").name
        'burst'
        """
        return looked_up(f"{id(self):x}", _known(self, name), self)

    def of(self, *keys: Term, prefix: str | None = None) -> "Reached":
        """All these features, of the entity that other columns name: of the request (``sky.col``) or of a table's row, as in
        ``spending.of(cards["customer"])``; one for each column of ``by``.

        A model that reaches one group in two ways tells them apart by a ``prefix`` of their names in X, as in
        ``activity.of(sky.col("sender"))`` beside ``activity.of(sky.col("receiver"), prefix="receiver")``.
        Raises `DeclarationError` for keys that are no columns, and for a prefix that is no name.

        >>> import skyloom as sky
        >>> class Login(sky.Event):
        ...     id: str = sky.key()
        ...     at: sky.Timestamp = sky.time()
        ...     account: str
        >>> activity = sky.Features(sky.Source(Login), by="account", n=sky.count(over=["1h"]))
        >>> sender, receiver = activity.of(sky.col("sender")), activity.of(sky.col("receiver"), prefix="receiver")
        >>> (sender["n_1h"] - receiver["n_1h"]).named("busier").name
        'busier'
        """
        given: Any = prefix
        if given is not None and not (isinstance(given, str) and given.isidentifier()):
            raise DeclarationError(f"{prefix!r} is no prefix of a name", fix='write one as in prefix="receiver"')
        return Reached(self, require_keys(keys, self.by), prefix)


@dataclass(frozen=True, eq=False)
class Reached:
    """Windowed features of the entity that other columns than those of ``by`` name; in X, their names begin with
    ``prefix`` where there is one."""

    features: Features
    keys: tuple[Term, ...]
    prefix: str | None = None

    def __getitem__(self, name: str) -> Term:
        """One of these features, as `Features.__getitem__` gives it."""
        return looked_up(f"{id(self):x}", _known(self.features, name), self)


def _known(features: Features, name: str) -> str:
    """The name of a windowed feature. Raises `DeclarationError` (with the nearest names) when there is none of that name."""
    known = [each for label, aggregate in features.aggregates.items() for each in aggregate.names(label)]
    if name not in known:
        near = nearest(name, known) or known
        raise DeclarationError(
            f"there is no windowed feature {name!r}", tried=", ".join(known), fix=f"did you mean {' or '.join(near)}?"
        )
    return name


Feature = Columns | Term | Features | Reached
"""What may stand in a model's ``features``: columns of the request, expressions (columns of entity tables among them),
groups of windowed features."""
