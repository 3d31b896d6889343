"""The routes: which paths there are, what each does, and which key opens it."""

from collections.abc import Iterable
from typing import NamedTuple

from skyloom.kernel.errors import DeclarationError
from skyloom.serving.wire import Explain, Handler, Problem, problem

OPEN = "open"
"""The policy of what anybody may ask without a key."""

POLICIES = (OPEN, "predict", "ingest", "read", "admin")


_REMEMBERED, _SHORT = 1_024, 256
"""So many paths of so many characters are found without looking again: that costs as much as reading a small body."""


class Endpoint(NamedTuple):
    """One route. ``path`` may hold words in braces, with a verb behind them or not: ``/predict/{model}``,
    ``/v1/models/{model}:predict``, and gets what no path without braces takes; ``policy`` is `OPEN` or the scope that a key
    needs; ``explain`` makes the answer when there is none; ``longest`` is the most bytes of a body (0: as many as the
    process takes)."""

    method: str
    path: str
    policy: str
    handle: Handler
    explain: Explain = problem
    longest: int = 0


class Found(NamedTuple):
    """The endpoint of a request, and the values of the words in braces (not to be changed: requests share them)."""

    endpoint: Endpoint
    parameters: dict[str, str]


class Table:
    """Finds endpoints. Raises `DeclarationError` for a route without a known policy, or the same route twice."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._by_shape: dict[int, list[tuple[tuple[str, ...], Endpoint]]] = {}
        self._lately: dict[tuple[str, str], Found] = {}
        seen: set[tuple[str, str]] = set()
        for endpoint in self.endpoints:
            if endpoint.policy not in POLICIES:
                raise DeclarationError(
                    f"the route {endpoint.method} {endpoint.path} has no policy",
                    tried=f"policy {endpoint.policy!r}",
                    fix=f"give it one of {', '.join(POLICIES)}",
                )
            words = tuple(endpoint.path.split("/"))
            shape = shape_of(endpoint.path)
            if (endpoint.method, shape) in seen:
                raise DeclarationError(f"the route {endpoint.method} {endpoint.path} is there twice")
            seen.add((endpoint.method, shape))
            self._by_shape.setdefault(len(words), []).append((words, endpoint))
        for found in self._by_shape.values():
            found.sort(key=lambda each: _looseness(each[0]))

    def find(self, method: str, path: str) -> Found:
        """The endpoint of a request; raises `Problem` with 404 or 405."""
        found = self._lately.get((method, path))
        if found is None:
            found = self._searched(method, path)
            if len(self._lately) >= _REMEMBERED:
                self._lately.clear()
            if len(path) <= _SHORT:
                self._lately[method, path] = found
        return found

    def _searched(self, method: str, path: str) -> Found:
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
            allowed = list(dict.fromkeys(others))
            why = f"{path} takes {' or '.join(allowed)}, not {method}"
            raise Problem(405, why, headers=(("allow", ", ".join(allowed)),))
        raise Problem(404, f"there is no {path}")


def shape_of(path: str) -> str:
    """A path with its words in braces unnamed: what two paths share that take the same requests.

    >>> shape_of("/v1/models/{model}:predict")
    '/v1/models/{}:predict'
    """
    return "/".join(f"{{}}{word.partition('}')[2]}" if word.startswith("{") else word for word in path.split("/"))


def _looseness(pattern: tuple[str, ...]) -> tuple[tuple[bool, ...], bool]:
    """What decides which pattern is asked first: words go before words in braces, and braces with a verb behind them before
    those without (a model's name never ends with a verb)."""
    return tuple(word.startswith("{") for word in pattern), not pattern[-1].partition("}")[2]


def _match(pattern: tuple[str, ...], words: list[str]) -> dict[str, str] | None:
    parameters: dict[str, str] = {}
    for wanted, word in zip(pattern, words, strict=True):
        if wanted == word:
            continue
        if not (wanted.startswith("{") and word):
            return None
        name, _, verb = wanted[1:].partition("}")
        if verb:
            if not word.endswith(verb) or word == verb:
                return None
            word = word.removesuffix(verb)  # noqa: PLW2901
        parameters[name] = word
    return parameters
