"""The routes: which paths there are, what each does, and which key opens it."""

from collections.abc import Iterable
from typing import NamedTuple

from skyloom.kernel.errors import DeclarationError
from skyloom.serving.wire import Handler, Problem

OPEN = "open"
"""The policy of what anybody may ask without a key."""

POLICIES = (OPEN, "predict", "ingest", "read", "admin")


class Endpoint(NamedTuple):
    """One route. ``path`` may hold words in braces: ``/predict/{model}``; ``policy`` is `OPEN` or the scope that a key
    needs."""

    method: str
    path: str
    policy: str
    handle: Handler


class Found(NamedTuple):
    """The endpoint of a request, and the values of the words in braces."""

    endpoint: Endpoint
    parameters: dict[str, str]


class Table:
    """Finds endpoints. Raises `DeclarationError` for a route without a known policy, or the same route twice."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._by_shape: dict[int, list[tuple[tuple[str, ...], Endpoint]]] = {}
        seen: set[tuple[str, str]] = set()
        for endpoint in self.endpoints:
            if endpoint.policy not in POLICIES:
                raise DeclarationError(
                    f"the route {endpoint.method} {endpoint.path} has no policy",
                    tried=f"policy {endpoint.policy!r}",
                    fix=f"give it one of {', '.join(POLICIES)}",
                )
            words = tuple(endpoint.path.split("/"))
            shape = "/".join("{}" if word.startswith("{") else word for word in words)
            if (endpoint.method, shape) in seen:
                raise DeclarationError(f"the route {endpoint.method} {endpoint.path} is there twice")
            seen.add((endpoint.method, shape))
            self._by_shape.setdefault(len(words), []).append((words, endpoint))

    def find(self, method: str, path: str) -> Found:
        """The endpoint of a request; raises `Problem` with 404 or 405."""
        words = path.split("/")
        others: list[str] = []
        for pattern, endpoint in self._by_shape.get(len(words), ()):
            parameters = _match(pattern, words)
            if parameters is None:
                continue
            if endpoint.method == method:
                return Found(endpoint, parameters)
            others.append(endpoint.method)
        if others:
            raise Problem(405, f"{path} takes {' or '.join(others)}, not {method}")
        raise Problem(404, f"there is no {path}")


def _match(pattern: tuple[str, ...], words: list[str]) -> dict[str, str] | None:
    parameters: dict[str, str] = {}
    for wanted, word in zip(pattern, words, strict=True):
        if wanted == word:
            continue
        if not (wanted.startswith("{") and word):
            return None
        parameters[wanted[1:-1]] = word
    return parameters
