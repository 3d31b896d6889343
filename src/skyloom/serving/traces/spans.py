"""The spans within a request, by name: ``lookup``, ``model``; ``log`` is the logbook's (`TracedLogbook`)."""

from skyloom.serving.loaded import LoadedArm, LoadedRoute
from skyloom.serving.traces.underway import Recording


def looked_up(kept: Recording, begun: float, route: LoadedRoute, rows: int) -> None:
    """The features and tables of ``rows`` were read, and the model's inputs made of them."""
    kept.add("lookup", begun, {"skyloom.model": route.model.name, "skyloom.rows": rows})


def scored(kept: Recording, begun: float, route: LoadedRoute, arm: LoadedArm, rows: int, error: str | None = None) -> None:
    """A version was asked for ``rows``, or broke."""
    attributes = {
        "skyloom.model": route.model.name,
        "skyloom.version": arm.arm.version,
        "skyloom.arm": arm.arm.role,
        "skyloom.rows": rows,
    }
    kept.add("model", begun, attributes, error)
