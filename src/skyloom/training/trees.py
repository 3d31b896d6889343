"""LightGBM's trees as one ONNX operator, decision for decision.

ONNX compares float32, LightGBM double. Every input here is a float32, so a threshold that is rounded *down* to float32
decides each of them as the double did: there is no float32 between the two.

Sources: ``Tree::NumericalDecision`` and ``Tree::CategoricalDecision`` of LightGBM (include/LightGBM/tree.h), and its
reading of dense rows, which leaves out what is nearer to 0 than ``kZeroThreshold`` (src/c_api.cpp);
TreeEnsembleClassifier and TreeEnsembleRegressor of the ai.onnx.ml operators, version 3.
"""

from typing import Any

import numpy as np

_ZERO = float(np.float32(1e-35))  # kZeroThreshold: LightGBM takes whatever is nearer to 0 for 0
_INFINITE = 1e300  # how a dump writes an infinite threshold (Common::AvoidInf)
_NODES = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true")


class Ensemble:
    """The nodes of all trees, in the lists that the operator takes."""

    def __init__(self) -> None:
        self.nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in _NODES}
        self.leaves: list[tuple[int, int, float]] = []
        """Tree, node and weight of each leaf."""

    def add_tree(self, number: int, structure: dict[str, Any], scale: float) -> None:
        """Append a tree of ``Booster.dump_model()``, its leaves multiplied by ``scale``."""
        tree = _Tree(self, number)
        waiting = [(structure, tree.take())]
        while waiting:
            part, place = waiting.pop()
            if "split_index" not in part:
                tree.leaf(place, part["leaf_value"] * scale)
                continue
            left, right = tree.take(), tree.take()
            if part["decision_type"] == "==":
                tree.category(place, part, left, right)
            else:
                tree.number(place, part, left, right)
            waiting += [(part["left_child"], left), (part["right_child"], right)]

    def attributes(self, kind: str) -> dict[str, Any]:
        """The operator's attributes; ``kind`` is ``class`` or ``target``."""
        trees, nodes, weights = (list(column) for column in zip(*self.leaves, strict=True))
        leaves = {"treeids": trees, "nodeids": nodes, "ids": [0] * len(trees), "weights": weights}
        return self.nodes | {f"{kind}_{name}": values for name, values in leaves.items()}


class _Tree:
    """Writes the nodes of one tree. A false branch belongs to one node alone; a true branch may be shared (ONNX Runtime)."""

    def __init__(self, ensemble: Ensemble, number: int) -> None:
        self._ensemble = ensemble
        self._number = number
        self._next = 0

    def take(self) -> int:
        """The next free place."""
        self._next += 1
        return self._next - 1

    def leaf(self, place: int, weight: float) -> None:
        self._node(place, "LEAF", 0, 0.0, (0, 0), False)
        self._ensemble.leaves.append((self._number, place, float(np.float32(weight))))

    def number(self, place: int, part: dict[str, Any], left: int, right: int) -> None:
        """``x <= threshold`` goes left. A missing number is 0 without missing handling, else it goes its default way."""
        feature, threshold = part["split_feature"], float(part["threshold"])
        default_left, zero_left = part["default_left"], threshold >= 0.0
        bound = bound_of(threshold)
        if part["missing_type"] == "None":
            self._node(place, "BRANCH_LEQ", feature, bound, (left, right), zero_left)
        elif part["missing_type"] == "NaN" or default_left == zero_left:
            self._node(place, "BRANCH_LEQ", feature, bound, (left, right), default_left)
        else:
            self._around_zero(place, feature, bound, (left, right) if default_left else (right, left))

    def _around_zero(self, place: int, feature: int, bound: float, ways: tuple[int, int]) -> None:
        """Zero counts as missing and is sent to ``ways[0]``, against what its size says; all else as its size says."""
        zero, other = ways
        below, inside = self.take(), self.take()
        outer = "BRANCH_LEQ" if bound < 0 else "BRANCH_GT"
        self._node(place, outer, feature, bound, (zero, below), False)
        self._node(below, "BRANCH_LT", feature, -_ZERO, (other, inside), False)
        self._node(inside, "BRANCH_LEQ", feature, _ZERO, (zero, other), True)

    def category(self, place: int, part: dict[str, Any], left: int, right: int) -> None:
        """A category of the set goes left, any other, unknown or missing one right: a chain of equalities."""
        codes = [int(code) for code in str(part["threshold"]).split("||")]
        for at, code in enumerate(codes):
            following = right if at == len(codes) - 1 else self.take()
            self._node(place, "BRANCH_EQ", part["split_feature"], float(code), (left, following), False)
            place = following

    def _node(self, place: int, mode: str, feature: int, value: float, ways: tuple[int, int], missing: bool) -> None:
        row = (self._number, place, feature, mode, value, *ways, int(missing))
        for column, cell in zip(self._ensemble.nodes.values(), row, strict=True):
            column.append(cell)


def bound_of(threshold: float) -> float:
    """The float32 ``b`` for which ``x <= b`` is what LightGBM decides of ``x <= threshold``, for every float32 ``x``.

    It takes numbers from -1e-35 to 1e-35 for zero before it compares.

    >>> float(np.float32(0.1)), bound_of(0.1)
    (0.10000000149011612, 0.09999999403953552)
    """
    if -_ZERO <= threshold < _ZERO:
        return _ZERO if threshold >= 0 else float(np.nextafter(np.float32(-_ZERO), np.float32(-np.inf)))
    if threshold >= _INFINITE:
        return float("inf")
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
        return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))
