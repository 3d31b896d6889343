"""Compile what reads features, before somebody waits for it."""

import numpy as np

from skyloom.features.algebra.kernel import read_packed
from skyloom.features.algebra.program import Program, compile_group
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef
from skyloom.kernel.units import HOUR


def warm_reading() -> None:
    """Compile (or load from the cache) what reads the features of a request."""
    read_packed(example_program().packed, b"", 1, np.empty(2))


def example_program() -> Program:
    """A group as small as any, to call the kernel with."""
    aggregates = (AggregateDef("a", "max", "x", HOUR, HOUR), AggregateDef("b", "mean", "x", HOUR, HOUR))
    return compile_group(FeatureGroupDef("g", "s", ("k",), aggregates, {"x": 0}, 0))
