"""Trees of a model file, read without building or running it: which splits rows meet first.

Numbers of fields are those of onnx.proto of ONNX 1.x; attributes those of ``TreeEnsembleRegressor`` and
``TreeEnsembleClassifier`` of the domain ai.onnx.ml.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skyloom.package.nodes import Node, node_of
from skyloom.package.protobuf import fields, text

_ENSEMBLES = frozenset({"TreeEnsembleRegressor", "TreeEnsembleClassifier"})
_AS_THEY_COME = frozenset({"Cast", "Identity", "Imputer", "LabelEncoder"})
"""Operators that leave each column where it is; and its numbers, but for missing ones."""
_NUMBERS = ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids")
_FLOATS, _INTEGERS = b"\xa0\x01\x06", b"\xa0\x01\x07"
"""How an attribute ends that is a run of floats, or of integers: its field 20, with its type."""
_FLOAT_TAG, _INTEGER_TAG, _LONGEST = 0x3D, 0x40, 9
_LARGEST = 64 << 20
"""To read more would take much memory for a moment: about three bytes for each of the file."""
_DEPTH = 10
"""How deep splits are looked at: one farther down is met by one row of a thousand."""


class Splits(NamedTuple):
    """Splits of the trees: the input that each looks at (its name), its threshold, and how many rows meet it if every split
    halves them (``weights``, 1 at a root)."""

    inputs: NDArray[np.str_]
    thresholds: NDArray[np.float32]
    weights: NDArray[np.float64]

    def of(self, inputs: Collection[str]) -> "Splits":
        """Those that look at one of these inputs."""
        its = np.isin(self.inputs, list(inputs))
        return Splits(self.inputs[its], self.thresholds[its], self.weights[its])


def splits_of(model: bytes) -> Splits | None:
    """The splits of a model that is one ensemble of trees over columns as they come; ``None`` for any other model, for one
    whose trees are written in an unusual way, and for one of more than 64 MiB."""
    try:
        return _splits(model) if len(model) <= _LARGEST else None
    except (IndexError, UnicodeDecodeError):
        return None


def _splits(model: bytes) -> Splits | None:
    nodes = list(_nodes(model))
    ensembles = [node for node in nodes if node.operator in _ENSEMBLES]
    if len(ensembles) != 1:
        return None
    columns = _columns(nodes, ensembles[0].inputs[0])
    found = dict(_attributes(model, ensembles[0]))
    if not columns or not all(name in found for name in (*_NUMBERS, "nodes_values")):
        return None
    trees, ids, features, yes, no = (found[name]() for name in _NUMBERS)
    thresholds = found["nodes_values"]()
    starts = np.flatnonzero(np.diff(trees, prepend=trees[:1] - 1))
    if len({len(each) for each in (trees, ids, features, yes, no, thresholds)}) > 1 or not len(trees):
        return None
    sizes = np.diff(starts, append=len(trees))
    first, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    if ((ids < 0) | (ids >= size)).any():
        return None
    places = np.full(len(trees), -1)
    places[first + ids] = np.arange(len(trees))

    def placed(kids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where((kids >= 0) & (kids < size), places[first + np.clip(kids, 0, size - 1)], -1)

    met, weights = _met(starts, placed(yes), placed(no), (yes == 0) & (no == 0))
    known = (features[met] >= 0) & (features[met] < len(columns))
    names = np.array(columns, np.str_)[features[met][known]]
    return Splits(names, thresholds[met][known], weights[known])


def _met(
    roots: NDArray[np.int64], yes: NDArray[np.int64], no: NDArray[np.int64], leaf: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The splits that are not too deep, and how many rows meet each."""
    levels, level = list[NDArray[np.int64]](), roots
    while len(levels) < _DEPTH and len(level) <= len(leaf):  # more would be no tree
        level = level[~leaf[level]]
        levels.append(level)
        level = np.concatenate([yes[level], no[level]])
        level = level[level >= 0]
    return np.concatenate(levels), np.repeat(
        np.exp2(-np.arange(len(levels), dtype=np.float64)), [len(each) for each in levels]
    )


def _columns(nodes: list[Node], name: str) -> list[str]:
    """The inputs of the model that the first columns of a value are, as far as that is plain."""
    made_by = {output: node for node in nodes for output in node.outputs}
    name = _source(made_by, name)
    node = made_by.get(name)
    if node is None:
        return [name]
    if node.operator != "Concat":
        return []
    sources = [_source(made_by, each) for each in node.inputs]
    return list(takewhile(lambda source: source not in made_by, sources))


def _source(made_by: dict[str, Node], name: str) -> str:
    """Where a value comes from that operators have left as it came."""
    for _ in made_by:  # no way is longer, unless it leads in a circle
        node = made_by.get(name)
        if node is None or node.operator not in _AS_THEY_COME:
            break
        name = node.inputs[0]
    return name


def _nodes(model: bytes) -> Iterator[Node]:
    for number, first, last in fields(model, 0, len(model)):
        if number == 7:
            yield from (node_of(model, *within) for each, *within in fields(model, first, last) if each == 1)


def _attributes(model: bytes, node: Node) -> Iterator[tuple[str, Callable[[], NDArray[Any]]]]:
    """The attributes of a node that are runs of numbers, by their names, each to be read when it is asked for."""
    for start, end in node.attributes:
        number, first, last = next(fields(model, start, end), (0, start, end))
        kind = model[end - len(_FLOATS) : end]
        if number == 1 and kind in (_FLOATS, _INTEGERS):
            read = _floats if kind == _FLOATS else _integers
            yield text(model, first, last), partial(read, model, last, end - len(kind))


def _floats(model: bytes, start: int, end: int) -> NDArray[np.float32]:
    """Floats of four bytes, with a tag of one byte before each. Raises `IndexError` for anything else."""
    count, rest = divmod(end - start, 5)
    tagged = np.frombuffer(model, [("tag", "u1"), ("value", "<f4")], max(count, 0), start)
    if count < 0 or rest or (tagged["tag"] != _FLOAT_TAG).any():
        raise IndexError(f"no run of floats at byte {start}")
    return np.ascontiguousarray(tagged["value"])


def _integers(model: bytes, start: int, end: int) -> NDArray[np.int64]:
    """Varints with a tag of one byte before each, so that every other byte without its high bit is the last of a number.
    Raises `IndexError` for anything else."""
    octets = np.frombuffer(model, np.uint8, max(end - start, 0), start)
    ends = np.flatnonzero(octets < 0x80)
    tags, lasts = ends[::2], ends[1::2]
    follow = np.array_equal(tags[1:], lasts[:-1] + 1) and len(tags) == len(lasts)
    if (
        start > end
        or not follow
        or (octets[tags] != _INTEGER_TAG).any()
        or (len(tags) and (tags[0] or lasts[-1] + 1 != len(octets)))
    ):
        raise IndexError(f"no run of integers at byte {start}")
    values = np.zeros(len(lasts), np.int64)
    for place in range(min(int((lasts - tags).max(initial=0)), _LONGEST)):
        there = np.flatnonzero(lasts - tags > place)
        values[there] |= (octets[tags[there] + 1 + place] & 0x7F).astype(np.int64) << (7 * place)
    return values
